// What every schedule must keep, checked on thousands of random ones: random models, tenants,
// weights, costs, arrivals, deadlines and executors.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <random>

#include "scheduler/scheduler.h"

namespace millrace {
namespace {

const MonoTime kStart = MonoTime(Nanos(1'000'000'000));

struct TestRow : QueuedRow {
  int model = 0;
  int tenant = 0;
  bool given = false;
};

// How far two came apart in service for weight since both began to wait without a break.
struct Gap {
  bool both = false;
  double now = 0, least = 0, most = 0;
  void Reset() { *this = Gap(); }
  void Start() {
    if (!both) *this = Gap{true, 0, 0, 0};
  }
  void Add(double difference) {
    now += difference;
    least = std::min(least, now);
    most = std::max(most, now);
  }
  double width() const { return most - least; }
};

struct Party {  // A model, or a tenant of one.
  double weight = 1;
  std::size_t waiting = 0;
  std::size_t before = 0;   // Waiting when the batch was formed.
  bool backlogged = false;  // The schedule always keeps some of its rows waiting.
};

class RandomSchedule {
 public:
  RandomSchedule(std::uint64_t seed, int executors)
      : random_(seed), executors_(static_cast<std::size_t>(executors)) {
    const int models = 1 + Pick(3);
    tenants_ = 1 + Pick(6);
    for (int m = 0; m < models; ++m) {
      Model& model = models_.emplace_back();
      model.policy.max_rows = 1 + static_cast<std::size_t>(Pick(12));
      model.policy.max_wait = Millis(Pick(20));
      model.policy.adaptive = Pick(3) > 0;
      model.policy.weight = 0.25 * (1 + Pick(8));
      model.fixed = 1000.0 * Pick(300);
      model.per_row = 1000.0 * (1 + Pick(100));
      model.self.weight = model.policy.weight;
      model.tenants.resize(static_cast<std::size_t>(tenants_));
      model.gaps.resize(static_cast<std::size_t>(tenants_ * tenants_));
      scheduler_.AddModel(model.policy);
      for (Party& tenant : model.tenants) tenant.backlogged = Pick(2) == 0;
    }
    gaps_.resize(models_.size() * models_.size());
    for (int t = 0; t < tenants_; ++t) {
      const double weight = 0.5 * (1 + Pick(6));
      scheduler_.SetWeight(TenantSlot(t), weight);
      for (Model& model : models_) model.tenants[static_cast<std::size_t>(t)].weight = weight;
    }
    running_.resize(executors_);
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) {
      now_ += Micros(Pick(300));
      TopUp();
      for (int burst = Pick(6); burst > 0; --burst) {
        Admit(Pick(static_cast<int>(models_.size())), Pick(tenants_));
      }
      Take();
    }
    scheduler_.Drain(now_);
    draining_ = true;
    while (scheduler_.waiting() > 0 && !::testing::Test::HasFatalFailure()) Take();
    for (const TestRow& row : rows_) ASSERT_TRUE(row.given) << "a row was forgotten";
  }

 private:
  struct Model {
    BatchPolicy policy;
    double fixed = 0, per_row = 0;  // What its batches cost, but for noise.
    double largest = 0;             // Of those that ran.
    Party self;
    std::vector<Party> tenants;
    std::vector<Gap> gaps;  // Of each two tenants.
  };
  struct Running {
    bool busy = false;
    FormedBatch batch;
    double cost = 0;
  };

  int Pick(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }

  void Admit(int m, int t) {
    Model& model = models_[static_cast<std::size_t>(m)];
    TestRow& row = rows_.emplace_back();
    row.model = m;
    row.tenant = t;
    if (Pick(8) == 0) row.priority = Pick(7) - 3;
    if (Pick(8) == 0) row.deadline = now_ + Micros(Pick(20'000) - 1000);
    scheduler_.Admit(ModelSlot(m), TenantSlot(t), &row, now_);
    ++model.tenants[static_cast<std::size_t>(t)].waiting;
    ++model.self.waiting;
  }

  // More than two batches of each: no batch can empty what is backlogged, expired rows included.
  void TopUp() {
    for (std::size_t m = 0; m < models_.size(); ++m) {
      Model& model = models_[m];
      for (int t = 0; t < tenants_; ++t) {
        const Party& tenant = model.tenants[static_cast<std::size_t>(t)];
        if (!tenant.backlogged) continue;
        while (tenant.waiting <= 2 * model.policy.max_rows) Admit(static_cast<int>(m), t);
      }
    }
  }

  void Take() {
    Running& slot = running_[static_cast<std::size_t>(Pick(static_cast<int>(executors_)))];
    if (slot.busy) {  // Batches end in any order.
      const Nanos cost(static_cast<std::int64_t>(slot.cost));
      scheduler_.Settle(slot.batch, cost, cost);
      slot.busy = false;
    }
    bool full = draining_ && scheduler_.waiting() > 0;
    for (const Model& model : models_) full = full || model.self.waiting >= model.policy.max_rows;
    const auto due = scheduler_.NextDue();
    const std::size_t waiting = scheduler_.waiting();
    if (!scheduler_.Next(now_, &slot.batch)) {
      ASSERT_FALSE(full) << "an executor idles beside a full batch";
      ASSERT_TRUE(slot.batch.rows.empty() && slot.batch.expired.empty());
      const auto next = scheduler_.NextDue();
      ASSERT_EQ(next.has_value(), waiting > 0) << "waiting rows have a timer";
      if (next.has_value()) {
        ASSERT_GT(*next, now_);
      }
      CheckMaxWait();
      return;
    }
    ASSERT_TRUE(due.has_value() && *due <= now_) << "nobody would have asked";
    Check(slot);
    if (::testing::Test::HasFatalFailure()) return;
    Account(slot);
  }

  void CheckMaxWait() {
    for (; oldest_ < rows_.size() && rows_[oldest_].given; ++oldest_) {
    }
    if (oldest_ == rows_.size()) return;
    const TestRow& row = rows_[oldest_];
    const BatchPolicy& policy = models_[static_cast<std::size_t>(row.model)].policy;
    ASSERT_LT(now_, row.queued_at + policy.max_wait) << "an executor idles beyond max_wait";
  }

  // Marks the rows as given and returns by tenant how many of `rows` there are.
  void Give(const std::vector<QueuedRow*>& rows, const FormedBatch& batch, bool expired) {
    Model& model = models_[batch.model.index()];
    for (QueuedRow* queued : rows) {
      TestRow& row = *static_cast<TestRow*>(queued);
      ASSERT_EQ(row.model, batch.model.value()) << "a batch is of one model";
      ASSERT_FALSE(row.given) << "a row was dispatched twice";
      ASSERT_EQ(row.deadline <= now_, expired);
      row.given = true;
      --model.tenants[static_cast<std::size_t>(row.tenant)].waiting;
      --model.self.waiting;
    }
  }

  void Check(const Running& slot) {
    const FormedBatch& batch = slot.batch;
    Model& model = models_[batch.model.index()];
    const std::size_t before = model.self.waiting;
    for (Model& each : models_) {
      each.self.before = each.self.waiting;
      for (Party& tenant : each.tenants) tenant.before = tenant.waiting;
    }
    ASSERT_LE(batch.rows.size(), model.policy.max_rows);
    ASSERT_LE(batch.expired.size(), model.policy.max_rows);
    ASSERT_FALSE(batch.rows.empty() && batch.expired.empty());
    Give(batch.rows, batch, false);
    if (::testing::Test::HasFatalFailure()) return;
    std::vector<std::uint32_t> counted(model.tenants.size());
    for (const QueuedRow* row : batch.rows) {
      ++counted[static_cast<std::size_t>(static_cast<const TestRow*>(row)->tenant)];
    }
    std::uint32_t shared = 0;
    for (const FormedBatch::Share& share : batch.shares) {
      ASSERT_EQ(share.rows, counted[share.tenant.index()]);
      shared += share.rows;
    }
    ASSERT_EQ(shared, batch.rows.size());
    Give(batch.expired, batch, true);
    if (::testing::Test::HasFatalFailure()) return;
    const bool stopped = batch.expired.size() == model.policy.max_rows;
    ASSERT_TRUE(stopped || batch.rows.size() == model.policy.max_rows || model.self.waiting == 0)
        << "there was room and a row waits";
    CheckCap(model, counted, before);
  }

  // Nobody has more than its share of what those who ran out of rows left; that share is rounded
  // up, and so was what each of them took.
  void CheckCap(const Model& model, const std::vector<std::uint32_t>& counted, std::size_t before) {
    if (before <= model.policy.max_rows) return;
    auto room = static_cast<double>(model.policy.max_rows);
    double weight = 0;
    int ran_out = 0;
    for (std::size_t t = 0; t < counted.size(); ++t) {
      const Party& tenant = model.tenants[t];
      if (tenant.waiting > 0) {
        weight += tenant.weight;
      } else if (tenant.before > 0) {
        room -= counted[t];
        ++ran_out;
      }
    }
    for (std::size_t t = 0; t < counted.size(); ++t) {
      const Party& tenant = model.tenants[t];
      if (tenant.waiting == 0) continue;
      const double share = std::ceil(room * tenant.weight / weight - 1e-9) + ran_out;
      ASSERT_LE(counted[t], share) << "over its share while another waits";
    }
  }

  // Charges the batch with what it costs and holds all gaps against their bound.
  void Account(Running& slot) {
    Model& model = models_[slot.batch.model.index()];
    const auto rows = static_cast<double>(slot.batch.rows.size());
    slot.busy = !slot.batch.rows.empty();
    slot.cost = slot.busy ? 1 : 0;
    slot.cost *= (model.fixed + model.per_row * rows) * (0.5 + 0.1 * Pick(11));
    // Until it is settled a batch counts with its estimate.
    model.largest = std::max({model.largest, slot.cost, slot.batch.estimate});
    largest_ = std::max(largest_, model.largest);
    std::vector<double> served(model.tenants.size());
    for (const FormedBatch::Share& share : slot.batch.shares) {
      served[share.tenant.index()] = slot.cost * share.rows / rows;
    }
    // What a tenant leaves of its share goes to whoever is not at its cap, who may be ahead
    // already, until it is as far ahead as the other: so it is the least weight of all that bounds
    // a gap.
    double least = model.tenants[0].weight;
    for (const Party& tenant : model.tenants) least = std::min(least, tenant.weight);
    CheckGaps(model.tenants, served, model.largest / least, model.gaps);
    std::vector<double> models(models_.size());
    models[slot.batch.model.index()] = slot.cost;
    std::vector<Party> parties;
    for (const Model& each : models_) {
      parties.push_back(each.self);
      // Rows that wait are not yet a batch that is due: only models that are always full count.
      if (std::none_of(each.tenants.begin(), each.tenants.end(),
                       [](const Party& tenant) { return tenant.backlogged; })) {
        parties.back().before = 0;
      }
    }
    CheckGaps(parties, models, 0, gaps_);
  }

  void CheckGaps(const std::vector<Party>& parties, const std::vector<double>& served, double batch,
                 std::vector<Gap>& gaps) {
    // With one executor everything is settled before the next pick, and two are never further apart
    // than a batch, ahead or behind. Each further one may have a batch under way that is charged
    // with an estimate.
    const double batches = 2 * static_cast<double>(executors_);
    for (std::size_t i = 0; i < parties.size(); ++i) {
      for (std::size_t j = i + 1; j < parties.size(); ++j) {
        Gap& gap = gaps[i * parties.size() + j];
        if (parties[i].before == 0 || parties[j].before == 0) {
          gap.Reset();
          continue;
        }
        gap.Start();
        gap.Add(served[i] / parties[i].weight - served[j] / parties[j].weight);
        const double largest =
            batch > 0 ? batch : largest_ / std::min(parties[i].weight, parties[j].weight);
        const double bound = batches * largest;
        ASSERT_LE(gap.width(), bound * 1.000001) << i << " and " << j;
        if (parties[i].waiting == 0 || parties[j].waiting == 0) gap.Reset();
      }
    }
  }

  std::mt19937_64 random_;
  const std::size_t executors_;
  Scheduler scheduler_;
  int tenants_ = 1;
  std::vector<Model> models_;
  std::vector<Gap> gaps_;  // Of each two models.
  double largest_ = 0;
  std::vector<Running> running_;
  std::deque<TestRow> rows_;
  std::size_t oldest_ = 0;
  MonoTime now_ = kStart;
  bool draining_ = false;
};

// MILLRACE_SCHEDULES and MILLRACE_SEED choose another number of schedules and repeat a failure.
std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

void RunSchedules(int executors) {
  const std::uint64_t seed = FromEnvironment("MILLRACE_SEED", std::random_device{}());
  const std::uint64_t schedules = FromEnvironment("MILLRACE_SCHEDULES", 10'000);
  const auto start = std::chrono::steady_clock::now();
  for (std::uint64_t i = 0; i < schedules; ++i) {
    RandomSchedule schedule(seed + i, executors);
    schedule.Run(60);
    if (::testing::Test::HasFatalFailure()) FAIL() << "MILLRACE_SEED=" << seed + i;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("%llu schedules from seed %llu, %.0f per second\n",
              static_cast<unsigned long long>(schedules), static_cast<unsigned long long>(seed),
              static_cast<double>(schedules) / took.count());
}

TEST(SchedulerProperty, OneExecutorKeepsBackloggedPartiesWithinTwoBatches) { RunSchedules(1); }

TEST(SchedulerProperty, FurtherExecutorsAddTwoBatchesEach) { RunSchedules(3); }

}  // namespace
}  // namespace millrace
