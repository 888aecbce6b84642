#include <cohort/detail/callback.hpp>
#include <cohort/detail/future_await.hpp>
#include <cohort/detail/sync.hpp>

#include <coroutine>  // for std::noop_coroutine
#include <memory>     // for std::unique_ptr
#include <new>        // for placement new
#include <optional>   // for std::optional

namespace cohort::detail {

void throw_outcome(StateBase& state, Outcome outcome) {
  if (outcome == Outcome::moved) throw_invalid_state("the result has been moved out through another handle");
  if (state.error != nullptr) std::rethrow_exception(state.error);
  throw_cancelled("the task was cancelled before it started");
}

std::exception_ptr exception_of(const StateBase& state) noexcept {
  if (!state.done()) return nullptr;
  const Outcome outcome = state.outcome.load(std::memory_order_relaxed);  // relaxed: after done()
  if (outcome != Outcome::exception && outcome != Outcome::cancelled) return nullptr;
  if (state.error != nullptr) return state.error;
  try {
    return std::make_exception_ptr(CancelledError("the task was cancelled before it started"));
  } catch (...) {
    return std::current_exception();
  }
}

// Whether the awaited task may run on the stack of the one who awaits it, if it lies at an end of this worker's deque.
inline bool FutureAwaiterBase::may_run_inline(const ThreadContext& context) const noexcept {
  return parent != nullptr && context.deque != nullptr && context.scheduler == parent->scheduler && !asked_to_stop();
}

// Now and then it runs from the worker's loop instead, and soon if something else waits for that: a task that submits and
// awaits for ever must not keep its worker from all else. Not where a get() has started it in place: that
// would take a thread for its wait, and what comes first could want a lock that the waiting task holds.
inline bool FutureAwaiterBase::looks_elsewhere(const ThreadContext& context) noexcept {
  constexpr std::uint64_t look = 32;
  return (context.counters->started.load(std::memory_order_relaxed) + 1) % look == 0;  // relaxed: own
}
inline bool FutureAwaiterBase::goes_elsewhere(const ThreadContext& context) noexcept {
  constexpr std::uint64_t most = 256;
  return looks_elsewhere(context) && !context.in_place &&
         ((context.counters->started.load(std::memory_order_relaxed) + 1) % most == 0 ||  // relaxed: own
          context.scheduler->others_wait());
}

// Whether with the queue's entry gone nobody else starts it, or ends it: nobody knows it, and nobody who is gone has
// cancelled it.
inline bool FutureAwaiterBase::may_adopt(const StateBase& awaited, const ThreadContext& context) const noexcept {
  return awaited.submitter == context.worker_index && only_awaiter_knows() && !awaited.own_scope.started();
}

// It has been taken from there.
inline std::coroutine_handle<> FutureAwaiterBase::run_inline(StateBase& awaited, ThreadContext& context) noexcept {
  previous = context.inline_awaits;
  context.inline_awaits = this;
  context.current = &awaited.own_scope;
  return awaited.is_call ? run_call(awaited) : transfer(awaited.frame());
}

inline std::coroutine_handle<> FutureAwaiterBase::adopt(StateBase& awaited, ThreadContext& context) noexcept {
  adopted = true;
  awaited.own_scope.start_alone();
  awaited.role = Role::adopted;
  WorkerCounters::add(context.counters->started);
  return run_inline(awaited, context);
}

// What it almost always is, with no call in it for which registers would have to be saved.
std::coroutine_handle<> FutureAwaiterBase::adopt_or_wait(std::coroutine_handle<> handle) {
  ThreadContext& context = thread_context();
  StateBase& awaited = *task;
  if (may_run_inline(context) && !looks_elsewhere(context) && may_adopt(awaited, context) &&
      context.deque->pop(&awaited)) [[likely]] {
    return adopt(awaited, context);
  }
  return adopt_or_wait_slowly(handle);
}

std::coroutine_handle<> FutureAwaiterBase::adopt_or_wait_slowly(std::coroutine_handle<> handle) {
  ThreadContext& context = thread_context();
  if (!may_run_inline(context) || goes_elsewhere(context)) return wait(handle);
  return may_adopt(*task, context) && context.deque->take(task) ? adopt(*task, context) : take_or_wait(handle);
}

std::coroutine_handle<> FutureAwaiterBase::await_suspend(std::coroutine_handle<> handle) {
  ThreadContext& context = thread_context();
  return timed_ || !may_run_inline(context) || goes_elsewhere(context) ? wait(handle) : take_or_wait(handle);
}

// For one who may run it inline, and will if it still lies at an end of this worker's deque.
std::coroutine_handle<> FutureAwaiterBase::take_or_wait(std::coroutine_handle<> handle) {
  ThreadContext& context = thread_context();
  if (context.deque->take(task)) {
    if (task->own_scope.try_start()) {
      context.counters->count_start(task->stolen_by(context.worker_index));
      return run_inline(*task, context);
    }
    task->drop(StateBase::one_owner);
  }
  return wait(handle);
}

// Returns what runs next: the coroutine itself when it is to go on at once.
std::coroutine_handle<> FutureAwaiterBase::wait(std::coroutine_handle<> handle) {
  if (begins_to_wait(handle)) return std::noop_coroutine();
  // A stranger's coroutine may have something else than resume_here() below it.
  return parent != nullptr ? transfer(handle) : handle;
}

bool FutureAwaiterBase::begins_to_wait(std::coroutine_handle<> handle) {
  if (asked_to_stop()) {
    wake_ = Wake::stopped;
    return false;
  }
  if (parent != nullptr && parent->scope == &task->own_scope) throw_would_deadlock();
  if (task->done()) return false;
  if (timed_) {
    if (deadline() <= now()) {
      wake_ = Wake::timed_out;
      return false;
    }
    if (parent == nullptr && thread_context().scheduler == nullptr) throw_needs_scheduler("a wait with a timeout");
  }
  return begin_wait(handle).finish();
}

TimePoint FutureAwaiterBase::deadline() const noexcept {
  return timed_ ? static_cast<const TimedFutureAwaiterBase*>(this)->deadline_ : TimePoint::max();
}

Suspension::Registration FutureAwaiterBase::begin_wait(std::coroutine_handle<> handle) noexcept {
  ::new (static_cast<void*>(&wait_)) Wait(*this);
  waited_ = true;
  wake_ = Wake::none;
  wait_.notify = [](Waiter& waiter) noexcept { static_cast<Wait&>(waiter).fire(Wake::ready); };
  static constexpr Suspension::Awaited a_future{
      .remove =
          [](Suspension& suspension) noexcept {
            auto& self = static_cast<Wait&>(suspension);
            return self.awaiter->task->waiters.remove(self);
          },
      .waits_for =
          [](const Suspension& suspension) noexcept {
            return WaitsFor::future_of(*static_cast<const Wait&>(suspension).awaiter->task);
          }};
  Suspension::Registration registration(wait_, handle, a_future);
  registration.add_source();
  if (!task->waiters.add(wait_)) wait_.fire(Wake::ready);
  if (!deaf_) registration.watch_stop();
  registration.watch_deadline();
  return registration;
}

void InlineAwait::detach() noexcept {
  auto& self = static_cast<FutureAwaiterBase&>(*this);
  self.begin_wait(parent->frame()).finish_detached();
}

void end_adopted_for_all(const InlineAwait& await) noexcept {
  StateBase& task = *await.task;
  task.role = Role::root;
  await.leave();
  task.destroy_ended_body();                                                           // before anybody sees the result
  thread_context().counters->count_end(task.outcome.load(std::memory_order_relaxed));  // relaxed: own write
  publish(task);
  task.drop(StateBase::one_owner);
  WorkerCounters::add(thread_context().counters->left);  // as task_left() does; a callback may have changed places
}

void cancel_when(StateBase& state, std::stop_token token) {
  // Destroyed when the future is done, or right away when it is already. Its callback may run at any time in between,
  // and may itself be what completes the future.
  struct CancelWhen : CallbackNode {
    struct Cancel {
      void operator()() const noexcept {
        state->add_handle();  // the node's own may go while we cancel
        StateBase* const kept = state;
        cancel(*kept);
        kept->drop(StateBase::one_handle);
      }
      StateBase* state;
    };

    explicit CancelWhen(StateBase& cancelled) noexcept : state(&cancelled) {
      state->add_handle();
      run = [](CallbackNode& node) noexcept { delete static_cast<CancelWhen*>(&node); };
    }
    CancelWhen(const CancelWhen&) = delete;
    CancelWhen& operator=(const CancelWhen&) = delete;
    ~CancelWhen() {
      callback.reset();
      state->drop(StateBase::one_handle);
    }

    StateBase* state;
    std::optional<std::stop_callback<Cancel>> callback;
  };

  if (!token.stop_possible() || state.done()) return;
  auto node = std::make_unique<CancelWhen>(state);
  node->callback.emplace(std::move(token), CancelWhen::Cancel{&state});
  if (state.waiters.add(*node)) static_cast<void>(node.release());
}

}  // namespace cohort::detail
