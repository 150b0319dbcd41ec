#include "pipeline/crash_journal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "runtime/engine_thread.h"

namespace millrace {

// The handler must not find a lock in them, and other processes must find the same bytes.
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

struct CrashJournal::Entry {
  RowId row;
  std::uint64_t model = 0;
  // Number of the last crash << 16 | its signal << 8 | crashes; 0: the entry is free. One word, so
  // that a recovery that is cut short has counted a crash or has not.
  std::atomic<std::uint64_t> verdict{0};
};

struct CrashJournal::PlaceRecord {
  std::atomic<std::uint32_t> state{0};
  std::int32_t signal = 0;
  std::uint64_t crash = 0;  // Its number.
  std::uint64_t model = 0;
  std::array<char, kMaxModelName + 8> name{};  // Ends with a zero.
  std::uint64_t count = 0;
  std::array<RowId, kMaxRows> rows{};
};

struct CrashJournal::File {
  std::array<char, 8> magic{};
  std::uint64_t topic = 0;
  std::uint64_t places = 0;
  std::atomic<std::uint64_t> crashes{0};  // The number of the last one.
  std::array<Entry, kMaxSuspects> suspects{};
  // Followed by `places` PlaceRecords.
};

namespace {

constexpr std::array<char, 8> kMagic = {'m', 'r', 'c', 'r', 'a', 's', 'h', '1'};
constexpr std::uint32_t kIdle = 0;
constexpr std::uint32_t kRunning = 1;
constexpr std::uint32_t kCrashed = 2;
constexpr std::array<int, 5> kFatal = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
constexpr std::size_t kSignalStackBytes = 64 << 10;
constexpr std::uint64_t kMaxCrashes = 255;

std::uint64_t Hash(std::string_view text) {  // FNV-1a: the same in every build.
  std::uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

int CrashesOf(std::uint64_t verdict) { return static_cast<int>(verdict & 0xff); }
int SignalOf(std::uint64_t verdict) { return static_cast<int>(verdict >> 8 & 0xff); }
std::uint64_t NumberOf(std::uint64_t verdict) { return verdict >> 16; }

auto OrderOf(const CrashJournal::RowId& row) { return std::pair(row.partition, row.offset); }

Status Unusable(const std::string& path, const std::string& why) {
  return {StatusCode::kConfiguration, "executor.crash_journal '" + path + "': " + why};
}

std::array<struct sigaction, kFatal.size()>& ActionsBefore() {
  static std::array<struct sigaction, kFatal.size()> actions;
  return actions;
}

// The place of this thread, and the journal of this process. Plain memory and an atomic: the
// handler reads them.
thread_local void* t_record = nullptr;
std::atomic<void*> g_file{nullptr};

}  // namespace

std::string SignalName(int signal) {
  const char* const name = ::sigabbrev_np(signal);
  return name == nullptr ? "signal " + std::to_string(signal) : std::string("SIG") + name;
}

CrashJournal::Model CrashJournal::ModelOf(const ModelRef& ref) {
  Model model;
  model.name = ref.model_id + ":" + ref.version;
  model.key = Hash(model.name + ":" + ref.sha256);
  model.name.resize(std::min(model.name.size(), kMaxModelName));
  return model;
}

// --- The file -----------------------------------------------------------------------------------

CrashJournal::File& CrashJournal::file() const { return *static_cast<File*>(memory_); }

CrashJournal::PlaceRecord* CrashJournal::PlacesOf(void* memory) {
  return reinterpret_cast<PlaceRecord*>(static_cast<std::byte*>(memory) + sizeof(File));
}

CrashJournal::PlaceRecord& CrashJournal::place(std::size_t index) const {
  return PlacesOf(memory_)[index];
}

// The file's places: at least as many as it had, for they are to be recovered, and as many as are
// wanted. All its bytes are there afterwards: storing to a hole when the disk is full would be the
// end of the process.
Result<std::size_t> CrashJournal::PreparePlaces(int fd, std::size_t places) {
  struct stat status {};
  std::array<char, 8> magic{};
  if (::fstat(fd, &status) != 0) return Status(StatusCode::kInternal, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return Status(StatusCode::kInternal, "not a file");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size > 0) {
    const bool read = ::pread(fd, magic.data(), magic.size(), 0) == ssize_t{sizeof magic};
    const bool blank = read && magic == std::array<char, 8>{};  // Its making was cut short.
    const bool whole = size >= sizeof(File) && (size - sizeof(File)) % sizeof(PlaceRecord) == 0 &&
                       (size - sizeof(File)) / sizeof(PlaceRecord) <= kMaxPlaces;
    if (!blank && (magic != kMagic || !whole)) {
      return Status(StatusCode::kCorruption,
                    "this is no crash journal of this version; name another file, or delete it");
    }
    if (whole) places = std::max(places, (size - sizeof(File)) / sizeof(PlaceRecord));
  }
  const std::size_t bytes = sizeof(File) + places * sizeof(PlaceRecord);
  const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  if (error != 0) return Status(StatusCode::kResourceExhausted, std::strerror(error));
  return places;
}

Result<std::unique_ptr<CrashJournal>> CrashJournal::Open(const std::string& path,
                                                         const std::string& requests_topic,
                                                         std::size_t places) {
  static_assert(std::is_trivially_copyable_v<RowId>);
  MILLRACE_CHECK(places >= 1 && places <= kMaxPlaces);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return Unusable(path, std::string("cannot be opened: ") + std::strerror(errno));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    ::close(fd);
    return Unusable(path, error == EWOULDBLOCK ? "another worker uses it; give each its own"
                                               : std::strerror(error));
  }
  const Result<std::size_t> prepared = PreparePlaces(fd, places);
  if (!prepared.ok()) {
    ::close(fd);
    return Unusable(path, std::string(prepared.status().message()));
  }
  const std::size_t bytes = sizeof(File) + *prepared * sizeof(PlaceRecord);
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    const int error = errno;
    ::close(fd);
    return Unusable(path, std::string("cannot be mapped: ") + std::strerror(error));
  }
  std::unique_ptr<CrashJournal> journal(new CrashJournal(fd, memory, bytes));
  File& file = journal->file();
  const std::uint64_t topic = Hash(requests_topic);
  if (file.magic != kMagic || file.topic != topic) journal->Reset(topic);
  file.places = *prepared;
  if (const Status sound = journal->Check(); !sound.ok()) {
    return Unusable(path, std::string(sound.message()));
  }
  journal->Recover();
  journal->IndexSuspects();
  for (std::size_t i = *prepared; i > 0; --i) journal->free_places_.push_back(i - 1);
  return journal;
}

CrashJournal::~CrashJournal() {
  void* mine = memory_;
  g_file.compare_exchange_strong(mine, nullptr);
  ::munmap(memory_, bytes_);
  ::close(fd_);
}

void CrashJournal::Reset(std::uint64_t topic) {
  File& file = this->file();
  file.magic = {};  // Until all of it is empty.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::memset(static_cast<std::byte*>(memory_) + sizeof file.magic, 0, bytes_ - sizeof file.magic);
  file.topic = topic;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  file.magic = kMagic;
}

Status CrashJournal::Check() const {
  for (std::size_t i = 0; i < file().places; ++i) {
    const PlaceRecord& record = place(i);
    const bool sound = record.state.load() <= kCrashed && record.count <= kMaxRows &&
                       record.name.back() == '\0' && record.crash <= file().crashes.load() &&
                       record.signal >= 0 && record.signal <= SIGRTMAX;
    if (!sound) {
      return {StatusCode::kCorruption, "the journal is damaged; delete it to start without it"};
    }
  }
  return {};
}

// --- Recovery -----------------------------------------------------------------------------------

void CrashJournal::Recover() {
  for (std::size_t i = 0; i < file().places; ++i) {
    PlaceRecord& record = place(i);
    if (record.state.load() == kCrashed) Count(record);
    record.state.store(kIdle);
  }
}

// One crash more for each row of the run.
void CrashJournal::Count(const PlaceRecord& record) {
  Crash crash{record.name.data(), record.signal, record.count, 0};
  std::array<Entry, kMaxSuspects>& entries = file().suspects;
  std::vector<Known> known;
  std::vector<Entry*> others;  // Free ones first, then the oldest.
  for (Entry& entry : entries) {
    others.push_back(&entry);
    if (entry.verdict.load() != 0) known.push_back({entry.row, &entry});
  }
  const auto by_row = [](const Known& a, const Known& b) {
    return OrderOf(a.row) < OrderOf(b.row);
  };
  std::sort(known.begin(), known.end(), by_row);
  std::stable_sort(others.begin(), others.end(), [](const Entry* a, const Entry* b) {
    return NumberOf(a->verdict.load()) < NumberOf(b->verdict.load());
  });
  std::size_t next = 0;
  for (std::size_t i = 0; i < record.count; ++i) {
    const RowId& row = record.rows[i];
    const auto at = std::lower_bound(known.begin(), known.end(), Known{row, nullptr}, by_row);
    // In a full table its entry may have been taken by a row before it.
    const bool found = at != known.end() && OrderOf(at->row) == OrderOf(row) &&
                       OrderOf(at->entry->row) == OrderOf(row);
    Entry& entry = found ? *at->entry : *others[next++];
    const bool same = found && entry.row.timestamp == row.timestamp && entry.model == record.model;
    const std::uint64_t before = same ? entry.verdict.load() : 0;
    if (NumberOf(before) != record.crash) {
      const std::uint64_t crashes = std::min(kMaxCrashes, (before & 0xff) + 1);
      entry.verdict.store(0);  // No verdict about another row may be seen.
      entry.row = row;
      entry.model = record.model;
      entry.verdict.store(record.crash << 16 |
                          static_cast<std::uint64_t>(record.signal & 0xff) << 8 | crashes);
    }
    if (CrashesOf(entry.verdict.load()) >= kDeadAfter) ++crash.dead;
  }
  crashes_.push_back(std::move(crash));
}

void CrashJournal::IndexSuspects() {
  for (Entry& entry : file().suspects) {
    if (entry.verdict.load() != 0) index_.push_back({entry.row, &entry});
  }
  std::sort(index_.begin(), index_.end(),
            [](const Known& a, const Known& b) { return OrderOf(a.row) < OrderOf(b.row); });
  live_.store(index_.size());
}

// --- Suspects -----------------------------------------------------------------------------------

std::optional<CrashJournal::Suspect> CrashJournal::Find(const RowId& row,
                                                        const ModelRef& model) const {
  const auto at = std::lower_bound(
      index_.begin(), index_.end(), row,
      [](const Known& known, const RowId& wanted) { return OrderOf(known.row) < OrderOf(wanted); });
  if (at == index_.end() || OrderOf(at->row) != OrderOf(row)) return std::nullopt;
  const std::uint64_t verdict = at->entry->verdict.load(std::memory_order_relaxed);
  if (verdict == 0 || at->row.timestamp != row.timestamp) return std::nullopt;
  if (at->entry->model != ModelOf(model).key) return std::nullopt;
  return Suspect{static_cast<std::size_t>(at - index_.begin()), CrashesOf(verdict),
                 SignalOf(verdict)};
}

void CrashJournal::Clear(std::size_t suspect) { Forget(index_[suspect]); }

void CrashJournal::ForgetBefore(std::int32_t partition, Offset position) {
  for (const Known& known : index_) {
    if (known.row.partition == partition && known.row.offset < position) Forget(known);
  }
}

void CrashJournal::Forget(const Known& known) {
  if (known.entry->verdict.exchange(0) != 0) live_.fetch_sub(1, std::memory_order_relaxed);
}

// --- Places and signals -------------------------------------------------------------------------

std::unique_ptr<CrashJournal::Place> CrashJournal::TakePlace() {
  static std::once_flag installed;
  std::call_once(installed, InstallHandlers);
  const std::lock_guard lock(mutex_);
  if (free_places_.empty()) return nullptr;
  MILLRACE_CHECK(t_record == nullptr);
  const std::size_t index = free_places_.back();
  free_places_.pop_back();
  return std::unique_ptr<Place>(new Place(*this, index));
}

CrashJournal::Place::Place(CrashJournal& journal, std::size_t index)
    : journal_(journal), index_(index), record_(&journal.place(index)) {
  stack_t present{};
  // Who has one already (a sanitizer) keeps it.
  if (::sigaltstack(nullptr, &present) == 0 && (present.ss_flags & SS_DISABLE) != 0) {
    signal_stack_.resize(kSignalStackBytes);
    stack_t stack{};
    stack.ss_sp = signal_stack_.data();
    stack.ss_size = signal_stack_.size();
    ::sigaltstack(&stack, nullptr);
  }
  g_file.store(journal.memory_);
  t_record = record_;
}

CrashJournal::Place::~Place() {
  Leave();
  t_record = nullptr;
  if (!signal_stack_.empty()) {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    ::sigaltstack(&none, nullptr);
  }
  const std::lock_guard lock(journal_.mutex_);
  journal_.free_places_.push_back(index_);
}

CrashJournal::RowId* CrashJournal::Place::rows() {
  return static_cast<PlaceRecord*>(record_)->rows.data();
}

void CrashJournal::Place::Enter(const Model& model, std::size_t count) {
  MILLRACE_DCHECK(count <= kMaxRows && model.name.size() <= kMaxModelName);
  PlaceRecord& record = *static_cast<PlaceRecord*>(record_);
  record.count = count;
  record.model = model.key;
  std::memcpy(record.name.data(), model.name.c_str(), model.name.size() + 1);
  // Whoever reads it is this very thread, in the handler, or a later process.
  record.state.store(kRunning, std::memory_order_release);
}

void CrashJournal::Place::Leave() {
  static_cast<PlaceRecord*>(record_)->state.store(kIdle, std::memory_order_release);
}

CrashJournal::Turn::Turn(CrashJournal& journal, bool suspect) {
  if (!suspect && journal.suspects() == 0) return;
  const std::lock_guard turn(journal.turn_);
  if (suspect) {
    alone_ = std::unique_lock(journal.runs_);
  } else {
    together_ = std::shared_lock(journal.runs_);
  }
}

void CrashJournal::Blame(File& file, PlaceRecord& record, int signal) {
  if (record.state.load() != kRunning) return;
  record.signal = signal;
  record.crash = file.crashes.fetch_add(1) + 1;
  record.state.store(kCrashed, std::memory_order_release);
}

// Async-signal-safe: stores to the mapping, getpid, sigaction and raise.
void CrashJournal::OnFatalSignal(int signal, void* raw_info) {
  const auto& info = *static_cast<const siginfo_t*>(raw_info);
  // A fault of the processor, or abort(), which is this process sending to itself.
  const bool own = info.si_code > 0 || info.si_pid == ::getpid();
  void* const memory = g_file.load();
  if (own && memory != nullptr) {
    File& file = *static_cast<File*>(memory);
    const char* const model = EngineThreadModel();
    if (t_record != nullptr) Blame(file, *static_cast<PlaceRecord*>(t_record), signal);
    // Who waits for this thread cannot be told from others that run the same model.
    for (std::size_t i = 0; model != nullptr && i < file.places; ++i) {
      PlaceRecord& record = PlacesOf(memory)[i];
      if (std::strncmp(record.name.data(), model, kMaxModelName) == 0) Blame(file, record, signal);
    }
  }
  for (std::size_t i = 0; i < kFatal.size(); ++i) {
    if (kFatal[i] == signal) ::sigaction(signal, &ActionsBefore()[i], nullptr);
  }
  // A fault happens again when the handler returns, and a core dump then tells its true place. What
  // was sent does not, nor does a bus error that memory reports by itself.
  if (info.si_code <= 0 || signal == SIGBUS) ::raise(signal);
}

void CrashJournal::InstallHandlers() {
  struct sigaction action {};
  action.sa_sigaction = [](int signal, siginfo_t* info, void*) { OnFatalSignal(signal, info); };
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (const int signal : kFatal) sigaddset(&action.sa_mask, signal);
  for (std::size_t i = 0; i < kFatal.size(); ++i) {
    ::sigaction(kFatal[i], &action, &ActionsBefore()[i]);
  }
}

}  // namespace millrace
