#pragma once

#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/scope_report.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/duration.hpp>

#include <cstddef>      // for std::size_t
#include <cstdint>      // for std::uint32_t
#include <memory>       // for std::unique_ptr
#include <string>       // for std::string
#include <string_view>  // for std::string_view
#include <vector>       // for std::vector

namespace cohort::detail {

class TracedTasks;

// An unfinished task that its pool can point at. It waits for the end of the task like anybody else, so that tasks that
// nobody traces pay nothing for it.
struct TracedTask {
  struct End : Waiter {
    TracedTask* task = nullptr;
  };

  TracedTask* next = nullptr;
  TracedTask* previous = nullptr;
  bool linked = false;
  bool asked_to_stop = false;  // by stop_all()

  std::string name;     // may be empty
  TimePoint submitted;  // by the pool's clock
  StateBase* state = nullptr;
  TracedTasks* all = nullptr;
  End end;
  sync::atomic<std::uint32_t> references{1};  // the end's, and those of readers
};

// The unfinished tasks of a pool, or as many of them as it was asked to trace, in order of submission.
//
// Thread safety: all members from any thread. Nothing of the user's runs under the lock.
class TracedTasks {
 public:
  struct Release {
    void operator()(TracedTask* task) const noexcept;
  };
  using Owner = std::unique_ptr<TracedTask, Release>;

  // Everything that may fail, before the task is submitted. Throws std::bad_alloc.
  [[nodiscard]] static Owner prepare(std::string_view name, TimePoint now);

  // From now until its end the task is in. It has been submitted, and may have ended; the caller has a handle.
  void add(Owner traced, StateBase& state) noexcept;

  // What is known of one task at a moment.
  struct Report {
    Owner task;  // for its name and age; of its state nothing is known to be there any more
    std::uint64_t sequence_id = 0;
    bool started = false;
    ScopeReport scope;
  };
  // The oldest, a thousand at most. Throws std::bad_alloc.
  [[nodiscard]] std::vector<Report> reports();

  // Whether one of them waits for a future of another pool than `own`.
  [[nodiscard]] bool any_waits_for_other(const Scheduler& own) noexcept;

  // Cancels each task that is in, or asks it to stop.
  void stop_all() noexcept;

 private:
  static void ended(Waiter& waiter) noexcept;
  void remove(TracedTask& task) noexcept;

  sync::mutex mutex_;
  IntrusiveList<TracedTask> tasks_;
  std::size_t count_ = 0;
};

}  // namespace cohort::detail
