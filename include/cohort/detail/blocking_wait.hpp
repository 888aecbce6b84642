#pragma once

#include <cohort/detail/scope_report.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/duration.hpp>

#include <mutex>  // for std::lock_guard

namespace cohort::detail {

/// A thread that blocks until somebody signals, or a deadline has passed. It lives on the stack of that thread.
class BlockingWait : Node {
 public:
  explicit BlockingWait(TimePoint deadline) noexcept : deadline_(deadline) {}

  /// By whoever ends the wait, once. The last touch: the waiter may be gone on return.
  void signal() noexcept;

  /// Blocks until signalled or the deadline has passed.
  void wait() noexcept;
  /// Whether it has been signalled, and the signal is over too.
  [[nodiscard]] bool over() noexcept;
  [[nodiscard]] TimePoint deadline() const noexcept { return deadline_; }
  /// The signal is on its way: from now on, without a deadline.
  void expect_signal() noexcept {
    deadline_ = TimePoint::max();
    ends_elsewhere_ = true;
  }
  /// Another executor sees to it, or another thread that is about to signal: it ends even when this one has nothing to
  /// do.
  void end_elsewhere() noexcept { ends_elsewhere_ = true; }
  [[nodiscard]] bool ends_elsewhere() const noexcept { return ends_elsewhere_; }
  /// What it waits for, for snapshots.
  void set_waits_for(const WaitsFor& waits) noexcept { waits_for_ = waits; }
  [[nodiscard]] const WaitsFor& waits_for() const noexcept { return waits_for_; }

  /// For a scheduler whose thread goes on working while it waits: from now on it is told by a node, instead of by the
  /// condition variable. On that thread; the node, when it comes, calls over().
  void wake_through(Scheduler& scheduler) noexcept;

 private:
  sync::mutex mutex_;
  sync::condition_variable condition_;  // one waiter
  TimePoint deadline_;
  WaitsFor waits_for_;
  bool ends_elsewhere_ = false;
  bool over_ = false;  // under the mutex, as is scheduler_
  Scheduler* scheduler_ = nullptr;
};

/// Puts the task that runs on this thread aside, while its thread blocks or runs something else on top of it.
class BlockedTask {
 public:
  /// What runs above it: whatever comes, or the task that it waits for, in place.
  enum class Above : bool { others, awaited };

  explicit BlockedTask(Above above = Above::others) noexcept;
  BlockedTask(const BlockedTask&) = delete;
  BlockedTask& operator=(const BlockedTask&) = delete;
  ~BlockedTask();

  /// How many tasks are blocked on this stack, this one included.
  [[nodiscard]] unsigned depth() const noexcept { return depth_; }
  /// That of the task; null outside of tasks.
  [[nodiscard]] const Scope* scope() const noexcept { return scope_; }
  /// Whether one of the tasks from `top` down is that of `scope`.
  [[nodiscard]] static bool any_is(const BlockedTask* top, const Scope& scope) noexcept;

 private:
  const Scope* scope_;
  InlineAwait* inline_awaits_;
  BlockedTask* below_;
  unsigned depth_;
  bool finishing_;
  bool in_place_;
};

/// Blocks until `state` is done or `deadline` has passed; returns whether it is done. On a worker, a task that has not
/// started is run right here, and otherwise the worker goes on with other work meanwhile.
///
/// *Throws*: `std::system_error` (resource_deadlock_would_occur) when the task would wait for itself, or when nothing is
/// left that could end the wait.
bool wait_while_not_done(StateBase& state, TimePoint deadline);
inline bool wait_until_done(StateBase& state, TimePoint deadline) {
  return state.done() || wait_while_not_done(state, deadline);
}

/// The same for anything that signals; it may return early on a thread that drives its scheduler. See Scheduler::block.
void block(BlockingWait& wait) noexcept;

}  // namespace cohort::detail
