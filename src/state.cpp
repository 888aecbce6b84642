#include <cohort/detail/callback.hpp>
#include <cohort/detail/latch.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/suspension.hpp>
#include <cohort/detail/thread_context.hpp>

#include <coroutine>  // for std::noop_coroutine
#include <exception>  // for std::current_exception
#include <memory>     // for std::construct_at
#include <utility>    // for std::exchange

namespace cohort::detail {

constinit thread_local ThreadContext this_thread_context;

#if defined(__clang__) && __clang_major__ < 17
ThreadContext& thread_context() noexcept { return this_thread_context; }
#endif

TimePoint now() noexcept {
  const Scheduler* const scheduler = thread_context().scheduler;
  return scheduler != nullptr ? scheduler->now() : sync::now();
}

TimePoint deadline_after(Duration duration) noexcept {
  const TimePoint start = now();
  if (duration <= Duration::zero()) return start;
  return duration >= TimePoint::max() - start ? TimePoint::max() : start + duration;
}

void store_current_exception(StateBase& state) noexcept {
  Outcome outcome = Outcome::exception;
  try {
    throw;
  } catch (const CancelledError&) {
    outcome = Outcome::cancelled;
  } catch (...) {
  }
  std::construct_at(&state.error, std::current_exception());
  state.outcome.store(outcome, std::memory_order_relaxed);  // relaxed: publish() makes it visible
}

void drop_unstarted(StateBase& state) noexcept {
  ThreadContext& context = thread_context();
  if (context.dropping_tasks) {
    state.next = context.dropped_tasks;
    context.dropped_tasks = &state;
    return;
  }
  context.dropping_tasks = true;
  for (StateBase* each = &state; each != nullptr;) {
    each->destroy_body();  // may drop the tasks that it holds as arguments
    each->end();
    each = context.dropped_tasks;
    if (each != nullptr) context.dropped_tasks = static_cast<StateBase*>(each->next);
  }
  context.dropping_tasks = false;
}

void publish(StateBase& state) noexcept {
  if (state.waiters.close_if_empty()) [[likely]]
    return;
  // Those who wait are woken first; callbacks, which may take their time, come after, in the order in which they were
  // added.
  CallbackList callbacks;
  for (Waiter* waiter = state.waiters.close_and_pop(); waiter != nullptr; waiter = state.waiters.pop()) {
    if (waiter->notify != nullptr) {
      waiter->notify(*waiter);
    } else {
      callbacks.push(static_cast<CallbackNode&>(*waiter));
    }
  }
  callbacks.run();
}

namespace {

// Ends a root that has not started, and now never will: true when this claimed it.
bool cancel_unstarted(StateBase& state) noexcept {
  if (!state.own_scope.try_cancel_start()) return false;
  Scheduler* const home = state.home;
  if (home != nullptr) state.destroy_body();  // a promise has none
  std::construct_at(&state.error);
  state.outcome.store(Outcome::cancelled, std::memory_order_relaxed);  // relaxed: publish() makes it visible
  if (home != nullptr) home->task_ended(state, false);
  publish(state);
  if (home != nullptr) home->task_left();
  return true;
}

}  // namespace

bool cancel(StateBase& state) noexcept {
  if (state.done()) return false;
  // When it was queued, the queue's entry still owns a reference, and drops it when it comes up.
  if (cancel_unstarted(state)) return true;
  if (state.own_scope.start_cancelled()) return false;  // somebody else is about to show it as cancelled
  state.own_scope.request_stop();
  return true;
}

void cancel_queued(StateBase& state) noexcept {
  cancel_unstarted(state);
  state.drop(StateBase::one_owner);
}

std::coroutine_handle<> run_call(StateBase& state) noexcept {
  state.call().act(state, PlainCall::Do::call);
  return state.role == Role::adopted ? transfer(adopter()) : finish_root(state);
}

void run_claimed(StateBase& state) noexcept {
  ThreadContext& context = thread_context();
  if (context.scheduler == state.home && context.counters != nullptr) [[likely]] {
    context.counters->count_start(state.stolen_by(context.worker_index));
  } else {
    state.home->task_started();
  }
  context.current = &state.own_scope;
  resume_here(state.is_call ? run_call(state) : state.frame());
}

namespace {

// Claims the start of a root, or lets it go when somebody else has.
void run_root(StateBase& state) noexcept {
  const bool alone =
      state.references.load(std::memory_order_seq_cst) == StateBase::one_owner;  // sees the last handle's doings
  // Without handles nobody can cancel it or start it in place any more: the claim needs no locked operation.
  const bool ours = alone ? !state.own_scope.started() : state.own_scope.try_start();
  if (!ours) {
    state.drop(StateBase::one_owner);
    return;
  }
  if (alone) state.own_scope.start_alone();
  run_claimed(state);
}

void run_branch(StateBase& branch) noexcept {
  thread_context().current = branch.scope;
  resume_here(branch.frame());
}

// The task that awaits a child; null for a stranger's coroutine.
StateBase* parent_of(const StateBase& child) noexcept {
  return child.of_stranger ? nullptr : &StateBase::of(child.continuation.address());
}

void continue_parent(StateBase& child) noexcept {
  const StateBase* const parent = parent_of(child);
  thread_context().current = parent != nullptr ? parent->scope : nullptr;
  resume_here(child.continuation);
}

// The root ran to its end on the stack of the one who awaits it, who goes on.
std::coroutine_handle<> return_to(const InlineAwait& await, ThreadContext& context) noexcept {
  context.inline_awaits = await.previous;
  context.current = await.parent->scope;
  return await.parent->frame();
}

}  // namespace

void run_task(Node& node) noexcept {
  auto& state = static_cast<StateBase&>(node);
  if (state.role == Role::root) return run_root(state);
  return state.role == Role::branch ? run_branch(state) : continue_parent(state);
}

Scheduler* home_of(const StateBase& state) noexcept {
  switch (state.role) {
    case Role::root:
    case Role::adopted:
      return state.home;
    case Role::branch:
      return state.latch->scheduler();
    case Role::created:
    case Role::child:
    case Role::child_away:
      break;
  }
  const StateBase* const parent = parent_of(state);
  return parent != nullptr ? parent->scheduler : state.strangers_scheduler;
}

std::coroutine_handle<> finish_root(StateBase& state) noexcept {
  state.destroy_ended_body();  // the callable and its arguments, before anybody sees the result
  ThreadContext& context = thread_context();
  Scheduler* const home = state.home;
  // When it ends as a worker's own affair.
  WorkerCounters* const counters = context.scheduler == home && state.starts_in_place() ? context.counters : nullptr;
  if (state.scheduler != home) state.scheduler->guest_left();
  if (counters != nullptr) {
    counters->count_end(state.outcome.load(std::memory_order_relaxed));  // relaxed: own write
  } else {
    home->task_ended(state, true);
  }

  std::coroutine_handle<> next = std::noop_coroutine();
  if (const InlineAwait* const await = context.inline_awaits; await != nullptr && await->task == &state) {
    next = return_to(*await, context);
    publish(state);
  } else {
    context.finishing = true;
    publish(state);
    context.finishing = false;
  }
  state.drop(StateBase::one_owner);

  if (counters != nullptr) {
    // As task_left() does. A callback may have changed places.
    WorkerCounters::add(context.counters->left);
  } else {
    home->task_left();
  }
  return transfer(next);
}

std::coroutine_handle<> finish_child_away(StateBase& state) noexcept {
  state.scheduler->guest_left();
  Scheduler* const home = home_of(state);
  if (home == nullptr) return transfer(state.continuation);  // a stranger's coroutine: right here
  home->schedule(state);
  return std::noop_coroutine();
}

void Latch::begin(std::size_t count, std::coroutine_handle<> handle, Scheduler* scheduler, Scope* scope) noexcept {
  remaining_.store(count, std::memory_order_relaxed);  // relaxed: nobody else knows it yet
  parent_ = handle;
  scheduler_ = scheduler;
  scope_ = scope;
  static constexpr Kind a_latch{.run = [](Node& node) noexcept {
    auto& latch = static_cast<Latch&>(node);
    thread_context().current = latch.scope_;
    resume_here(latch.parent_);
  }};
  kind = &a_latch;
}

std::coroutine_handle<> Latch::arrive(std::size_t count) noexcept {
  // The last sees what all others did; and when these are all that remain, nobody else comes any more.
  if (remaining_.load(std::memory_order_seq_cst) != count &&
      remaining_.fetch_sub(count, std::memory_order_seq_cst) != count) {
    return std::noop_coroutine();
  }
  ThreadContext& context = thread_context();
  if (parent_ && (scheduler_ == nullptr || context.scheduler == scheduler_)) {
    context.current = scope_;
    return transfer(parent_);
  }
  scheduler_->schedule(*this);
  return std::noop_coroutine();
}

void Latch::arrive_from_outside() noexcept {
  if (remaining_.fetch_sub(1, std::memory_order_seq_cst) != 1) return;
  if (scheduler_ != nullptr) {
    scheduler_->schedule(*this);
  } else {
    resume_here(parent_);
  }
}

// A branch's sequence_id: its index, and how many others have ended with whose arrival it is charged.
constexpr unsigned branch_index_bits = 32;
constexpr std::uint64_t branch_index_mask = (std::uint64_t{1} << branch_index_bits) - 1;

// The branch after `index`, when it still lies on top of this worker's deque: taken from there.
inline StateBase* Latch::take_branch_after(std::size_t index) noexcept {
  ThreadContext& context = thread_context();
  if (branches_ == nullptr || index + 1 >= branch_count_ || context.deque == nullptr) return nullptr;
  // What is not in the deque may be over and gone: only the address counts.
  StateBase* const branch = branches_[index + 1];
  // Now and then through the worker's loop, where what else waits comes first: see FutureAwaiterBase::may_run_inline().
  const bool through_loop = (context.branch_runs + 1) % 128 == 0 && !context.in_place;
  if (through_loop ? context.deque->newest() != branch : !context.deque->pop(branch)) return nullptr;
  ++context.branch_runs;
  if (!through_loop) return branch;
  static_cast<void>(context.scheduler->others_wait());
  return nullptr;
}

std::coroutine_handle<> finish_branch(StateBase& state) noexcept {
  Latch& latch = *state.latch;
  if (state.scheduler != latch.scheduler()) state.scheduler->guest_left();
  const auto index = static_cast<std::size_t>(state.sequence_id & branch_index_mask);
  std::size_t none = Latch::none;
  if (state.outcome.load(std::memory_order_relaxed) != Outcome::value) {  // relaxed: own write
    latch.first_failed_.compare_exchange_strong(none, index,
                                                std::memory_order_relaxed);  // relaxed: read after arrive()
    none = Latch::none;
  }
  std::size_t over = 1 + static_cast<std::size_t>(state.sequence_id >> branch_index_bits);
  if (StateBase* const next = latch.take_branch_after(index)) {
    // Nobody has seen it: it goes on right here, and brings our end with its own.
    next->sequence_id |= static_cast<std::uint64_t>(over) << branch_index_bits;
    thread_context().current = next->scope;
    return transfer(next->frame());
  }
  if (latch.on_first_ != nullptr &&
      latch.first_.compare_exchange_strong(none, index, std::memory_order_relaxed)) {  // relaxed: as above
    over += latch.on_first_(latch);
  }
  return latch.arrive(over);
}

}  // namespace cohort::detail
