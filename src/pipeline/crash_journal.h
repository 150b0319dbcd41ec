// CrashJournal: which rows a model was running when it crashed the process, kept beyond its end.
//
// A small file that is mapped as shared memory: what a thread stored in it survives the process,
// however that ends. Each executor has a place with the rows of the run in progress. The handler of
// the fatal signals (SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL) marks the place of the thread that
// it runs on and lets the signal go on, so that exit status and core dump stay what they were.
// Blame is by thread: a fault elsewhere, a signal that another process sent and kill -9 blame
// nobody. A thread of an engine's own (runtime/engine_thread.h) stands for the runs of its model.
//
// Open turns marked places into suspects: each row of such a run has one crash more. A row with one
// crash is run alone, with no other run beside it; one with kDeadAfter crashes is not run again and
// becomes a dead letter. Who ran alone and lived is cleared. Invariants:
//   - a row is named by its partition, offset and timestamp in the requests topic; a file that was
//     written for another topic is emptied, and a record that has taken an offset in a topic that
//     was made anew is not the one that crashed;
//   - a crash of a model counts for that model file alone: another one may run the row;
//   - each crash is counted once, however often a recovery is cut short: it has a number, and a
//     suspect remembers the last one it was counted for.
// The suspects of one process are found by Open and only become fewer. One process at a time uses a
// journal. The index is immutable and its entries are atomics, so that any thread may ask.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/strong.h"
#include "models/repository.h"

namespace millrace {

class CrashJournal {
 public:
  // The most rows of a batch (batch.max_rows).
  static constexpr std::size_t kMaxRows = 4096;
  // The most executors (executor.threads).
  static constexpr std::size_t kMaxPlaces = 256;
  // Suspects that are remembered; beyond it the oldest are forgotten.
  static constexpr std::size_t kMaxSuspects = 8192;
  // So many crashes of a row make it a dead letter.
  static constexpr int kDeadAfter = 2;
  static constexpr std::size_t kMaxModelName = 96;

  struct RowId {
    std::int32_t partition = 0;
    Offset offset;
    WallMillis timestamp = 0;
  };

  // What a run belongs to, prepared once per model.
  struct Model {
    std::string name;       // "id:version", for people; cut at kMaxModelName.
    std::uint64_t key = 0;  // Of this very file.
  };
  static Model ModelOf(const ModelRef& ref);

  // Of one thread, which must destroy it.
  class Place {
   public:
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    // Room for kMaxRows ids of the next run.
    RowId* rows();
    // The model begins to run the first `count` rows; from here on a crash is theirs.
    void Enter(const Model& model, std::size_t count);
    void Leave();

   private:
    friend class CrashJournal;
    Place(CrashJournal& journal, std::size_t index);

    CrashJournal& journal_;
    const std::size_t index_;
    void* const record_;
    std::vector<std::byte> signal_stack_;  // So that the handler runs after a stack overflow.
  };

  // Held during a run. While there are suspects, a suspect's run is the only one of the process;
  // else it costs a load. Neither waits for ever: who comes first goes first.
  class Turn {
   public:
    Turn(CrashJournal& journal, bool suspect);

   private:
    std::unique_lock<std::shared_mutex> alone_;
    std::shared_lock<std::shared_mutex> together_;
  };

  struct Suspect {
    std::size_t index = 0;  // For Clear.
    int crashes = 0;
    int signal = 0;  // Of the last crash.
  };

  // A crash that Open found.
  struct Crash {
    std::string model;
    int signal = 0;
    std::size_t rows = 0;
    std::size_t dead = 0;  // Those of them that will not be run again.
  };

  // The file is made when it is missing or empty. kConfiguration when it cannot be used: another
  // file, another process has it, no room. `places`: executors, at most kMaxPlaces.
  static Result<std::unique_ptr<CrashJournal>> Open(const std::string& path,
                                                    const std::string& requests_topic,
                                                    std::size_t places);
  ~CrashJournal();
  CrashJournal(const CrashJournal&) = delete;
  CrashJournal& operator=(const CrashJournal&) = delete;

  const std::vector<Crash>& crashes() const { return crashes_; }
  // Rows that crashed and are neither cleared nor forgotten.
  std::size_t suspects() const { return live_.load(std::memory_order_relaxed); }

  // A place for the calling thread, which has none yet, and the signal handlers for the process.
  // Null when all are taken.
  std::unique_ptr<Place> TakePlace();

  // What is held against a row that `model` is to run; nothing when another model crashed with it.
  std::optional<Suspect> Find(const RowId& row, const ModelRef& model) const;
  // The suspect ran alone and lived.
  void Clear(std::size_t suspect);
  // What lies before `position` has its outcome.
  void ForgetBefore(std::int32_t partition, Offset position);

 private:
  struct File;
  struct Entry;
  struct PlaceRecord;
  struct Known {
    RowId row;
    Entry* entry;
  };

  CrashJournal(int fd, void* memory, std::size_t bytes) : fd_(fd), memory_(memory), bytes_(bytes) {}
  static Result<std::size_t> PreparePlaces(int fd, std::size_t places);
  static void OnFatalSignal(int signal, void* info);
  static void Blame(File& file, PlaceRecord& record, int signal);
  static void InstallHandlers();

  File& file() const;
  static PlaceRecord* PlacesOf(void* memory);
  PlaceRecord& place(std::size_t index) const;
  void Reset(std::uint64_t topic);
  Status Check() const;
  void Recover();
  void Count(const PlaceRecord& record);
  void IndexSuspects();
  void Forget(const Known& known);

  const int fd_;
  void* const memory_;
  const std::size_t bytes_;
  std::vector<Crash> crashes_;
  std::vector<Known> index_;  // By partition and offset; immutable once open.
  std::atomic<std::size_t> live_{0};
  std::mutex turn_;         // Taken before runs_, so that a suspect is not overtaken for ever.
  std::shared_mutex runs_;  // See Turn.
  std::mutex mutex_;
  std::vector<std::size_t> free_places_;  // Guarded by mutex_.
};

// "SIGSEGV", or "signal 99".
std::string SignalName(int signal);

}  // namespace millrace
