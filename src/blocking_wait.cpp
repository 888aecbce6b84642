#include <cohort/detail/blocking_wait.hpp>
#include <cohort/detail/suspension.hpp>
#include <cohort/detail/thread_context.hpp>

#include <cstdint>  // for std::uint64_t
#include <utility>  // for std::exchange

#include "look_for_a_while.hpp"

namespace cohort::detail {
namespace {

// How many tasks may run on top of each other on one stack, each in a get() of the one below. Beyond, the worker goes
// on on another thread, with a stack of its own.
constexpr unsigned max_nested_tasks = 128;

// The entries of tasks that were started in place while they lay below others go when they come up in the worker's loop. A
// task that gets one after the other keeps the worker from that: then they go when what lay above them has gone.
void drop_passed_over(ThreadContext& context) noexcept {
  while (context.counters->passed_over > 0) {
    Node* const newest = context.deque->pop();
    if (newest == nullptr) {
      context.counters->passed_over = 0;  // thieves have taken them
      return;
    }
    if (!is_queued_root(*newest) || !static_cast<StateBase*>(newest)->own_scope.started()) {
      context.scheduler->schedule(*newest);  // somebody may have looked for it meanwhile, and sleep
      return;
    }
    --context.counters->passed_over;  // first: what is destroyed may block, and the thread change its worker
    static_cast<StateBase*>(newest)->drop(StateBase::one_owner);
  }
}

}  // namespace

BlockedTask::BlockedTask(Above above) noexcept {
  ThreadContext& context = thread_context();
  scope_ = std::exchange(context.current, nullptr);
  inline_awaits_ = std::exchange(context.inline_awaits, nullptr);
  finishing_ = std::exchange(context.finishing, false);
  in_place_ = std::exchange(context.in_place, above == Above::awaited);
  below_ = std::exchange(context.blocked, this);
  depth_ = below_ != nullptr ? below_->depth_ + 1 : 1;
}

BlockedTask::~BlockedTask() {
  ThreadContext& context = thread_context();
  context.current = scope_;
  context.inline_awaits = inline_awaits_;
  context.finishing = finishing_;
  context.in_place = in_place_;
  context.blocked = below_;
}

bool BlockedTask::any_is(const BlockedTask* top, const Scope& scope) noexcept {
  while (top != nullptr && top->scope_ != &scope) top = top->below_;
  return top != nullptr;
}

void BlockingWait::signal() noexcept {
  // Notified under the lock: the waiter cannot return, and destroy this, before we are out of it.
  std::lock_guard lock(mutex_);
  if (scheduler_ != nullptr) {
    scheduler_->schedule(*this);
  } else {
    over_ = true;
    condition_.notify_one();
  }
}

void BlockingWait::wait() noexcept {
  std::unique_lock lock(mutex_);
  if (deadline_ == TimePoint::max()) {
    condition_.wait(lock, [this] { return over_; });
  } else {
    condition_.wait_until(lock, deadline_, [this] { return over_; });
  }
}

bool BlockingWait::over() noexcept {
  std::lock_guard lock(mutex_);
  return over_;
}

void BlockingWait::wake_through(Scheduler& scheduler) noexcept {
  static constexpr Kind a_signal{.run = [](Node& node) noexcept {
    auto& self = static_cast<BlockingWait&>(node);
    std::lock_guard lock(self.mutex_);
    self.over_ = true;
    self.condition_.notify_one();  // its thread may have given its place away after all
  }};
  kind = &a_signal;
  std::lock_guard lock(mutex_);
  if (!over_) scheduler_ = &scheduler;
}

void block(BlockingWait& wait) noexcept {
  ThreadContext& context = thread_context();
  if (context.scheduler == nullptr) {
    wait.wait();
    return;
  }
  if (Node* node = std::exchange(context.handed_over, nullptr))
    context.scheduler->schedule(*node);  // it must not wait for us
  const BlockedTask below;
  context.scheduler->block(wait);
}

bool wait_while_not_done(StateBase& state, TimePoint deadline) {
  ThreadContext& context = thread_context();
  if (context.current == &state.own_scope || BlockedTask::any_is(context.blocked, state.own_scope))
    throw_would_deadlock();

  // The task we wait for has not started: the shortest way is to run it here. Not with a deadline, which it could
  // overrun.
  if (context.scheduler != nullptr && context.scheduler == state.home && state.starts_in_place() &&
      deadline == TimePoint::max() && (context.blocked == nullptr || context.blocked->depth() < max_nested_tasks)) {
    // Out of the queue, if it lies at hand: a task that gets one after the other may not come back to its worker's loop for
    // long, which would drop the entries. Its reference is ours then, else we need one besides.
    const bool was_at_hand = context.deque != nullptr && context.deque->take(&state);
    if (was_at_hand) {
      drop_passed_over(context);
    } else {
      state.add_owner();
    }
    if (state.own_scope.try_start()) {
      if (!was_at_hand && context.deque != nullptr && state.submitter == context.worker_index)
        ++context.counters->passed_over;
      const BlockedTask below(BlockedTask::Above::awaited);
      run_claimed(state);
      if (Node* node = std::exchange(thread_context().handed_over, nullptr))
        thread_context().scheduler->schedule(*node);
    } else {
      state.drop(StateBase::one_owner);
    }
    if (state.done()) return true;
  }

  if (context.scheduler == nullptr && deadline > sync::now() && look_for_a_while([&state] { return state.done(); }))
    return true;

  struct FutureWait : Waiter {
    explicit FutureWait(TimePoint time) noexcept : wait(time) {
      notify = [](Waiter& waiter) noexcept { static_cast<FutureWait&>(waiter).wait.signal(); };
    }
    BlockingWait wait;
  } waiter(deadline);
  waiter.wait.set_waits_for(WaitsFor::future_of(state));
  if (state.home != nullptr && state.home != context.scheduler) waiter.wait.end_elsewhere();
  if (!state.waiters.add(waiter)) return true;
  block(waiter.wait);
  if (!waiter.wait.over()) {
    if (state.waiters.remove(waiter)) {
      if (deadline == TimePoint::max()) throw_never_done();
      return false;
    }
    // Too late to take it out: the signal is on its way.
    waiter.wait.expect_signal();
    block(waiter.wait);
  }
  return true;
}

}  // namespace cohort::detail
