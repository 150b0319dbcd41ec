#include "gateway/admin_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace millrace {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

class FakeView final : public AdminView {
 public:
  HealthReport Live() override { return {}; }
  HealthReport Ready() override {
    return {{{"models", true, ""}, {"log", ready, ready ? "" : "no answer\nfor 3 s"}}};
  }
  HealthReport Startup() override { return {{{"models", true, "2 loaded"}}}; }
  std::string StatusJson() override {
    if (broken) throw std::runtime_error("planted");
    return R"({"state":"ready"})";
  }
  std::string MetricsText() override { return metrics; }

  std::atomic<bool> ready{true};
  std::atomic<bool> broken{false};
  std::string metrics = "# HELP a a\n# TYPE a counter\na 1\n";
};

// A socket that speaks HTTP by hand, so that a test can say it wrongly.
class Client {
 public:
  explicit Client(std::uint16_t port, int receive_buffer = 0)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Client() {
    if (fd_ >= 0) close(fd_);
  }
  Client(Client&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        connected_(other.connected_),
        unread_(std::move(other.unread_)) {}

  bool connected() const { return connected_; }
  bool Send(std::string_view bytes) {
    return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }

  struct Answer {
    int status = 0;  // 0: closed, reset or nothing within the time.
    std::string head;
    std::string body;
    bool Has(std::string_view text) const { return head.find(text) != std::string::npos; }
  };
  // Reads one answer by its Content-Length.
  Answer Read(bool head_only = false) {
    Answer answer;
    std::size_t end = 0;
    while ((end = unread_.find("\r\n\r\n")) == std::string::npos) {
      if (!Fill()) return answer;
    }
    answer.head = unread_.substr(0, end + 4);
    unread_.erase(0, end + 4);
    std::size_t length = 0;
    if (const std::size_t at = answer.head.find("Content-Length: "); at != std::string::npos) {
      length = std::strtoul(answer.head.c_str() + at + 16, nullptr, 10);
    }
    while (!head_only && unread_.size() < length) {
      if (!Fill()) return answer;
    }
    if (!head_only) {
      answer.body = unread_.substr(0, length);
      unread_.erase(0, length);
    }
    answer.status = std::atoi(answer.head.c_str() + std::string_view("HTTP/1.1 ").size());
    return answer;
  }
  Answer Get(std::string_view target, std::string_view method = "GET") {
    Send(std::string(method).append(" ").append(target).append(" HTTP/1.1\r\nHost: x\r\n\r\n"));
    return Read(method == "HEAD");
  }
  // True when the peer ends the connection in good order within the time.
  bool PeerCloses(std::chrono::milliseconds within = 5s) {
    const auto deadline = std::chrono::steady_clock::now() + within;
    while (std::chrono::steady_clock::now() < deadline) {
      if (Fill(100ms)) continue;
      if (closed_) return true;
    }
    return false;
  }
  bool saw_reset() const { return reset_; }

 private:
  bool Fill(std::chrono::milliseconds within = 5s) {
    pollfd ready = {fd_, POLLIN, 0};
    if (poll(&ready, 1, static_cast<int>(within.count())) != 1) return false;
    char bytes[4096];
    const ssize_t n = recv(fd_, bytes, sizeof(bytes), 0);
    if (n > 0) {
      unread_.append(bytes, static_cast<std::size_t>(n));
      return true;
    }
    closed_ = n == 0;
    reset_ = n < 0;
    return false;
  }

  int fd_;
  bool connected_ = false;
  bool closed_ = false;
  bool reset_ = false;
  std::string unread_;
};

class AdminServerTest : public testing::Test {
 protected:
  void StartWith(const AdminLimits& limits = {}) {
    server_ = std::make_unique<AdminServer>(view_, limits);
    const Result<std::uint16_t> port = server_->Start("127.0.0.1:0");
    ASSERT_TRUE(port.ok()) << port.status().ToString();
    port_ = *port;
  }

  FakeView view_;
  std::unique_ptr<AdminServer> server_;
  std::uint16_t port_ = 0;
};

TEST_F(AdminServerTest, ServesEveryRouteOnOneConnection) {
  StartWith();
  Client client(port_);
  Client::Answer answer = client.Get("/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, view_.metrics);
  EXPECT_TRUE(answer.Has("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
  for (const char* header :
       {"X-Content-Type-Options: nosniff\r\n", "Cache-Control: no-store\r\n",
        "Content-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'\r\n"}) {
    EXPECT_TRUE(answer.Has(header)) << answer.head;
  }
  answer = client.Get("/api/v1/status");
  EXPECT_EQ(answer.body, R"({"state":"ready"})");
  EXPECT_TRUE(answer.Has("Content-Type: application/json\r\n"));
  answer = client.Get("/");
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.Has("Content-Type: text/html; charset=utf-8\r\n"));
  EXPECT_NE(answer.body.find("<title>Millrace</title>"), std::string::npos);
}

TEST_F(AdminServerTest, ThePageRefersOnlyToFilesThatAreServed) {
  StartWith();
  Client client(port_);
  const std::string page = client.Get("/").body;
  int found = 0;
  for (const std::string_view attribute : {"src=\"", "href=\""}) {
    for (std::size_t at = page.find(attribute); at != std::string::npos;
         at = page.find(attribute, at + 1)) {
      const std::size_t start = at + attribute.size();
      const std::string target = page.substr(start, page.find('"', start) - start);
      const Client::Answer answer = client.Get("/" + target);
      EXPECT_EQ(answer.status, 200) << target;
      EXPECT_FALSE(answer.body.empty()) << target;
      ++found;
    }
  }
  EXPECT_GE(found, 4);
  // The policy that goes with the page forbids these.
  EXPECT_EQ(page.find("<style"), std::string::npos);
  EXPECT_EQ(page.find(" style="), std::string::npos);
  EXPECT_EQ(page.find("<script>"), std::string::npos);
  EXPECT_EQ(page.find("//"), std::string::npos) << "a request to elsewhere?";
}

TEST_F(AdminServerTest, HealthSaysWhichCheckFailedAndWhy) {
  StartWith();
  Client client(port_);
  EXPECT_EQ(client.Get("/livez").body, "ok\n");
  EXPECT_EQ(client.Get("/readyz").body, "ok\n");
  EXPECT_EQ(client.Get("/readyz?verbose").body, "[+]models ok\n[+]log ok\nreadyz check passed\n");
  EXPECT_EQ(client.Get("/startupz?x=1&verbose=true").body,
            "[+]models ok: 2 loaded\nstartupz check passed\n");
  view_.ready = false;
  const Client::Answer answer = client.Get("/readyz");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body, "[+]models ok\n[-]log failed: no answer for 3 s\nreadyz check failed\n");
  EXPECT_EQ(client.Get("/livez").status, 200);
}

TEST_F(AdminServerTest, HeadHasTheLengthAndNoBody) {
  StartWith();
  Client client(port_);
  const Client::Answer answer = client.Get("/metrics", "HEAD");
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.Has("Content-Length: " + std::to_string(view_.metrics.size()) + "\r\n"));
  // A body would be taken for the start of this answer.
  EXPECT_EQ(client.Get("/livez").body, "ok\n");
}

TEST_F(AdminServerTest, ErrorsAreJsonWithAReason) {
  StartWith();
  Client client(port_);
  Client::Answer answer = client.Get("/nowhere");
  EXPECT_EQ(answer.status, 404);
  EXPECT_NE(answer.body.find("\"reason\":\"not_found\""), std::string::npos);
  answer = client.Get("/metrics", "DELETE");
  EXPECT_EQ(answer.status, 405);
  EXPECT_TRUE(answer.Has("Allow: GET, HEAD\r\n"));
  EXPECT_NE(answer.body.find("\"reason\":\"method_not_allowed\""), std::string::npos);
  view_.broken = true;
  answer = client.Get("/api/v1/status");
  EXPECT_EQ(answer.status, 500);
  EXPECT_NE(answer.body.find("\"reason\":\"internal\""), std::string::npos);
  EXPECT_EQ(client.Get("/livez").status, 200);
}

TEST_F(AdminServerTest, PipelinedRequestsAreAnsweredInOrder) {
  StartWith();
  Client client(port_);
  std::string requests;
  for (int i = 0; i < 50; ++i) {
    requests += "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
  }
  ASSERT_TRUE(client.Send(requests));
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(client.Read().body, "ok\n") << i;
    ASSERT_EQ(client.Read().body, view_.metrics) << i;
  }
}

TEST_F(AdminServerTest, ConnectionCloseIsHonoured) {
  StartWith();
  Client client(port_);
  client.Send("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.Read().body, "ok\n");
  EXPECT_TRUE(client.PeerCloses());
  Client old(port_);
  old.Send("GET /livez HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.Read().body, "ok\n");
  EXPECT_TRUE(old.PeerCloses());
}

TEST_F(AdminServerTest, AnOversizeHeaderGets431AndNoReset) {
  StartWith();
  Client client(port_);
  client.Send("GET /livez HTTP/1.1\r\nX: " + std::string(40'000, 'x') + "\r\n\r\n");
  const Client::Answer answer = client.Read();
  EXPECT_EQ(answer.status, 431);
  EXPECT_NE(answer.body.find("header_too_large"), std::string::npos);
  EXPECT_TRUE(client.PeerCloses());
  EXPECT_FALSE(client.saw_reset());
}

TEST_F(AdminServerTest, AHeaderJustBelowTheLimitPasses) {
  StartWith();
  Client client(port_);
  client.Send("GET /livez HTTP/1.1\r\nX: " + std::string(8'000, 'x') + "\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(AdminServerTest, BodiesAndNonsenseAreRefused) {
  StartWith();
  for (const auto& [request, status] : std::vector<std::pair<std::string, int>>{
           {"GET /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413},
           {"GET /livez HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 413},
           {"GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            413},
           {"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 405},
           {"\x16\x03\x01 TLS here\r\n\r\n", 400},
           {"GET /livez HTTP/1.1\r\nbroken header\r\n\r\n", 400}}) {
    Client client(port_);
    client.Send(request);
    EXPECT_EQ(client.Read().status, status) << request;
    EXPECT_TRUE(client.PeerCloses()) << request;
  }
}

TEST_F(AdminServerTest, ASlowClientDoesNotHoldUpAnother) {
  view_.metrics.assign(8 << 20, 'm');
  StartWith();
  Client silent(port_);
  Client half(port_);
  half.Send("GET /metr");
  Client unread(port_, 4096);  // Asks for 8 MiB and reads none of it.
  unread.Send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  std::this_thread::sleep_for(50ms);
  const auto start = std::chrono::steady_clock::now();
  Client client(port_);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(client.Get("/livez").status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
  half.Send("ics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(half.Read().body.size(), view_.metrics.size());
}

TEST_F(AdminServerTest, ClientsThatDoNotGetOnAreDropped) {
  view_.metrics.assign(8 << 20, 'm');
  AdminLimits limits;
  limits.timeout = 100ms;
  StartWith(limits);
  Client silent(port_);
  Client half(port_);
  half.Send("GET /metr");
  EXPECT_TRUE(silent.PeerCloses());
  EXPECT_TRUE(half.PeerCloses());
}

TEST_F(AdminServerTest, ConnectionsBeyondTheLimitAreToldAndMakeRoomAgain) {
  StartWith();
  std::vector<Client> clients;
  for (int i = 0; i < 64; ++i) {
    clients.emplace_back(port_);
    ASSERT_EQ(clients.back().Get("/livez").status, 200) << i;
  }
  {
    Client extra(port_);
    const Client::Answer answer = extra.Get("/livez");
    EXPECT_EQ(answer.status, 503);
    EXPECT_TRUE(answer.Has("Retry-After: 1\r\n"));
    EXPECT_NE(answer.body.find("too_many_connections"), std::string::npos);
    EXPECT_TRUE(extra.PeerCloses());
  }
  EXPECT_EQ(clients.front().Get("/livez").status, 200);
  clients.pop_back();
  int status = 0;
  for (int i = 0; i < 100 && status != 200; ++i) {
    status = Client(port_).Get("/livez").status;
    if (status != 200) std::this_thread::sleep_for(10ms);
  }
  EXPECT_EQ(status, 200);
}

TEST_F(AdminServerTest, AFloodIsClosedAtOnce) {
  AdminLimits limits;
  limits.max_connections = 1;
  limits.max_refusals = 1;
  StartWith(limits);
  Client served(port_);
  ASSERT_EQ(served.Get("/livez").status, 200);
  Client refused(port_);  // Says nothing, so its place stays taken for a second.
  std::this_thread::sleep_for(50ms);
  Client flood(port_);
  EXPECT_TRUE(flood.PeerCloses(500ms));
  EXPECT_TRUE(refused.PeerCloses());
}

TEST_F(AdminServerTest, StopClosesConnectionsAndThePort) {
  view_.metrics.assign(8 << 20, 'm');
  StartWith();
  Client idle(port_);
  EXPECT_EQ(idle.Get("/livez").status, 200);
  Client half(port_);
  half.Send("GET /metr");
  Client writing(port_, 4096);
  writing.Send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  std::this_thread::sleep_for(50ms);
  const auto start = std::chrono::steady_clock::now();
  server_->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, 1s);
  EXPECT_TRUE(idle.PeerCloses());
  EXPECT_FALSE(Client(port_).connected());
  server_->Stop();
  const Result<std::uint16_t> again = server_->Start("127.0.0.1:" + std::to_string(port_));
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(*again, port_);
  EXPECT_EQ(Client(port_).Get("/livez").status, 200);
}

TEST_F(AdminServerTest, AnAddressInUseIsNamedWithItsSetting) {
  StartWith();
  AdminServer second(view_);
  const Status status = second.Start("127.0.0.1:" + std::to_string(port_)).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("http.admin_listen"), std::string::npos) << status.ToString();
  EXPECT_NE(status.message().find(std::to_string(port_)), std::string::npos) << status.ToString();
}

TEST(AdminServerListenTest, AddressesThatCannotBeAreConfigurationErrors) {
  FakeView view;
  for (const char* listen : {"", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",
                             "127.0.0.1:65536", "::1:9464", "[]:1", "203.0.113.1:0"}) {
    AdminServer server(view);
    const Result<std::uint16_t> port = server.Start(listen);
    ASSERT_FALSE(port.ok()) << listen;
    EXPECT_EQ(port.status().code(), StatusCode::kConfiguration) << listen;
    EXPECT_NE(port.status().message().find("http.admin_listen"), std::string::npos) << listen;
  }
}

TEST(AdminServerListenTest, NamesAndAnyAddressWork) {
  FakeView view;
  for (const char* listen : {"localhost:0", "0.0.0.0:0"}) {
    AdminServer server(view);
    const Result<std::uint16_t> port = server.Start(listen);
    ASSERT_TRUE(port.ok()) << port.status().ToString();
    EXPECT_NE(*port, 0);
  }
}

}  // namespace
}  // namespace millrace
