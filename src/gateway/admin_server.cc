#include "gateway/admin_server.h"

#include <fmt/format.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <exception>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/thread_name.h"
#include "gateway/admin_routes.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using ErrorCode = beast::error_code;

// What is read and thrown away after a refusal, so that the peer sees the answer and not a reset.
constexpr std::size_t kMaxDrainedBytes = 64 * 1024;
constexpr Millis kDrainTimeout{1'000};
// A client beyond the limit gets this long to send its request.
constexpr Millis kRefusalTimeout{1'000};
// Before accepting again when the process has no descriptor left.
constexpr Millis kAcceptBackoff{100};

struct Endpoint {
  std::string host;
  std::string port;
};

std::optional<Endpoint> ParseListen(std::string_view listen) {
  const std::size_t colon = listen.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  std::string_view host = listen.substr(0, colon);
  const std::string_view port = listen.substr(colon + 1);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return std::nullopt;
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return std::nullopt;  // An IPv6 address without brackets leaves open where the port begins.
  }
  if (port.empty() || port.size() > 5) return std::nullopt;
  unsigned number = 0;
  for (const char c : port) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<unsigned>(c - '0');
  }
  if (number > 65535) return std::nullopt;
  return Endpoint{std::string(host), std::string(port)};
}

Status ListenError(std::string_view listen, const ErrorCode& error) {
  const bool in_use = error == asio::error::address_in_use;
  return {in_use ? StatusCode::kUnavailable : StatusCode::kConfiguration,
          fmt::format("cannot listen on {} (http.admin_listen): {}; {}", listen, error.message(),
                      in_use ? "another process has this port: stop it or choose another port, or "
                               "0 for a free one"
                             : "choose an address of this machine and a port that this user may "
                               "open")};
}

// Connections alive; the admin thread's own.
struct ConnectionCounts {
  std::size_t served = 0;
  std::size_t refused = 0;
};

// One connection: reads a request, writes its answer, and again. Keeps itself alive through the
// operation in progress; ends when there is none.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, AdminView& view, const AdminLimits& limits,
             ConnectionCounts& counts, bool refused)
      : stream_(std::move(socket)),
        // Room for one whole header and what a pipelining client sent behind it.
        buffer_(2 * limits.max_header_bytes),
        view_(view),
        limits_(limits),
        counts_(counts),
        refused_(refused) {
    ++(refused_ ? counts_.refused : counts_.served);
  }
  ~Connection() { --(refused_ ? counts_.refused : counts_.served); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void ReadRequest() {
    parser_.emplace();
    parser_->body_limit(boost::none);  // No body is read; OnRequest refuses them.
    parser_->header_limit(static_cast<std::uint32_t>(limits_.max_header_bytes));
    stream_.expires_after(refused_ ? kRefusalTimeout : limits_.timeout);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](const ErrorCode& error, std::size_t) {
                              self->OnRequest(error);
                            });
  }

 private:
  void OnRequest(const ErrorCode& error) {
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      return Reply(AdminError(431, "header_too_large", "The request header is too large."), false);
    }
    if (error == http::error::end_of_stream) return Finish();
    const bool malformed =
        error.category() == http::make_error_code(http::error::bad_method).category();
    if (malformed && error != http::error::partial_message) {
      return Reply(AdminError(400, "bad_request", "This is not an HTTP/1.1 request."), false);
    }
    if (error) return;  // Timed out or gone: there is nobody to answer.

    const auto& request = parser_->get();
    head_ = request.method() == http::verb::head;
    version_ = request.version();
    const bool has_body = parser_->chunked() || parser_->content_length().value_or(0) > 0;
    if (refused_) {
      return Reply(AdminError(503, "too_many_connections",
                              "All admin connections are taken; try again in a second."),
                   false);
    }
    const std::string_view method(request.method_string().data(), request.method_string().size());
    const std::string_view target(request.target().data(), request.target().size());
    AdminAnswer answer = AnswerAdmin(view_, method, target);
    if (has_body && answer.status != 405) {
      answer = AdminError(413, "too_large", "No request here has a body.");
    }
    Reply(std::move(answer), request.keep_alive() && !has_body);
  }

  void Reply(AdminAnswer answer, bool keep_alive) {
    keep_alive_ = keep_alive;
    response_ = {};
    response_.version(version_);
    response_.result(answer.status);
    response_.keep_alive(keep_alive);
    response_.set(http::field::server, "millrace");
    SetField(http::field::content_type, answer.content_type);
    response_.set(http::field::cache_control, "no-store");
    response_.set("X-Content-Type-Options", "nosniff");
    response_.set("Referrer-Policy", "no-referrer");
    response_.set("Content-Security-Policy",
                  "default-src 'self'; base-uri 'none'; form-action 'none'; "
                  "frame-ancestors 'none'");
    if (!answer.allow.empty()) SetField(http::field::allow, answer.allow);
    if (answer.status == 503) response_.set(http::field::retry_after, "1");
    response_.content_length(answer.body.size());
    if (!head_) response_.body() = std::move(answer.body);

    stream_.expires_after(limits_.timeout);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](const ErrorCode& error, std::size_t) {
                        if (error) return;
                        self->response_ = {};  // An idle connection holds no body.
                        self->head_ = false;
                        if (self->keep_alive_) {
                          self->ReadRequest();
                        } else {
                          self->Finish();
                        }
                      });
  }

  void SetField(http::field field, std::string_view value) {
    response_.set(field, beast::string_view(value.data(), value.size()));
  }

  // Closing with unread bytes in the socket makes the kernel send a reset, which can overtake the
  // answer; so what the peer still sends is read away first, for a while.
  void Finish() {
    ErrorCode ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(kDrainTimeout);
    Drain();
  }

  void Drain() {
    stream_.async_read_some(asio::buffer(drained_),
                            [self = shared_from_this()](const ErrorCode& error, std::size_t n) {
                              self->drained_bytes_ += n;
                              if (error || self->drained_bytes_ > kMaxDrainedBytes) return;
                              self->Drain();
                            });
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::empty_body>> parser_;
  http::response<http::string_body> response_;
  AdminView& view_;
  const AdminLimits& limits_;
  ConnectionCounts& counts_;
  const bool refused_;
  bool head_ = false;
  bool keep_alive_ = false;
  unsigned version_ = 11;
  std::array<char, 1024> drained_ = {};
  std::size_t drained_bytes_ = 0;
};

}  // namespace

class AdminServer::Impl {
 public:
  Impl(AdminView& view, const AdminLimits& limits) : view_(view), limits_(limits) {}
  ~Impl() {
    io_.stop();
    if (thread_.joinable()) thread_.join();
  }

  Result<std::uint16_t> Start(const std::string& listen) {
    const std::optional<Endpoint> parsed = ParseListen(listen);
    if (!parsed) {
      return Status(StatusCode::kConfiguration,
                    fmt::format("http.admin_listen is '{}': expected host:port, for example "
                                "127.0.0.1:9464, [::1]:9464 or 0.0.0.0:9464",
                                listen));
    }
    ErrorCode error;
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(
        parsed->host, parsed->port, tcp::resolver::passive | tcp::resolver::numeric_service, error);
    if (error) return ListenError(listen, error);
    for (const auto& entry : found) {
      error = Open(entry.endpoint());
      if (!error) break;
    }
    if (error) return ListenError(listen, error);
    const std::uint16_t port = acceptor_.local_endpoint().port();
    Accept();
    try {
      thread_ = std::thread([this] { Run(); });
    } catch (const std::exception& e) {
      return Status(StatusCode::kResourceExhausted,
                    fmt::format("cannot start the thread of the admin listener: {}", e.what()));
    }
    return port;
  }

 private:
  ErrorCode Open(const tcp::endpoint& endpoint) {
    ErrorCode error;
    acceptor_.close(error);
    if (acceptor_.open(endpoint.protocol(), error)) return error;
    if (acceptor_.set_option(tcp::acceptor::reuse_address(true), error)) return error;
    if (acceptor_.bind(endpoint, error)) return error;
    acceptor_.listen(asio::socket_base::max_listen_connections, error);
    return error;
  }

  void Run() {
    SetThreadName("mr-admin");
    for (;;) {
      try {
        io_.run();
        return;
      } catch (const std::exception& e) {
        // Only memory can run out here; the connection at hand is lost, the listener goes on.
        LogEvery(failures_, LogLevel::kError, "admin_failed", "An admin connection failed.",
                 {{"error", e.what()}});
      }
    }
  }

  void Accept() {
    acceptor_.async_accept([this](const ErrorCode& error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) {
        LogEvery(failures_, LogLevel::kWarn, "admin_accept_failed",
                 "The admin listener cannot accept a connection; it tries again.",
                 {{"error", error.message()}});
        backoff_.expires_after(kAcceptBackoff);
        backoff_.async_wait([this](const ErrorCode& stopped) {
          if (!stopped) Accept();
        });
        return;
      }
      // First, so that a failure below cannot end the chain.
      Accept();
      Serve(std::move(socket));
    });
  }

  void Serve(tcp::socket socket) {
    const bool refused = counts_.served >= limits_.max_connections;
    if (refused && counts_.refused >= limits_.max_refusals) return;  // Closes the socket.
    std::make_shared<Connection>(std::move(socket), view_, limits_, counts_, refused)
        ->ReadRequest();
  }

  AdminView& view_;
  const AdminLimits& limits_;
  // Before io_: destroying io_ ends the connections, which count themselves out.
  ConnectionCounts counts_;
  LogLimiter failures_{std::chrono::seconds(10)};
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::steady_timer backoff_{io_};
  std::thread thread_;
};

AdminServer::AdminServer(AdminView& view, AdminLimits limits) : view_(view), limits_(limits) {}

AdminServer::~AdminServer() { Stop(); }

Result<std::uint16_t> AdminServer::Start(const std::string& listen) {
  MILLRACE_CHECK(impl_ == nullptr);
  auto impl = std::make_unique<Impl>(view_, limits_);
  Result<std::uint16_t> port = impl->Start(listen);
  if (port.ok()) impl_ = std::move(impl);
  return port;
}

void AdminServer::Stop() { impl_.reset(); }

}  // namespace millrace
