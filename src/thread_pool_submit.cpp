// How work comes into the pool and is counted: tasks, what goes on, timers. See thread_pool_core.hpp.

#include <cohort/detail/state.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/thread_pool.hpp>

#include <atomic>   // for std::memory_order
#include <mutex>    // for std::lock_guard
#include <utility>  // for std::move

#include "splitmix.hpp"
#include "thread_pool_core.hpp"

namespace cohort {

using detail::Node;
using detail::NodeQueue;
using detail::PoolWorker;
using detail::StateBase;
using detail::thread_context;
using detail::ThreadContext;

namespace {

// How many submissions from outside lie between those that bring the shared queue in order.
constexpr std::uint64_t turn_interval = 64;

}  // namespace

// Without a call but the last: it saves no registers.
void ThreadPool::submit(StateBase& task) {
  ThreadContext& context = thread_context();
  // relaxed: see shutdown()
  if (context.scheduler == this && plain_ && !closed_.load(std::memory_order_relaxed) && context.deque->has_room() &&
      has_sequence_id(*context.counters)) [[likely]] {
    push_new(task, context);
  } else {
    submit_slowly(task, {});
  }
}

void ThreadPool::submit(StateBase& task, std::string_view name) { submit_slowly(task, name); }

inline void ThreadPool::push_new(StateBase& task, ThreadContext& context) noexcept {
  task.sequence_id = next_sequence_id(*context.counters);
  task.submitter = context.worker_index;
  detail::WorkerCounters::add(context.counters->submitted);
  context.deque->push_reserved(&task);
  wake_if_needed();
}

// What remains: with a name, from outside, or when something has to be fetched first.
void ThreadPool::submit_slowly(StateBase& task, std::string_view name) {
  Core& core = *core_;
  ThreadContext& context = thread_context();
  const bool here = context.scheduler == this && !limited_;
  const auto submit_task = [&] { here ? submit_here(task, context) : submit_from_outside(task); };
  if (name.empty() && !core.options.trace_tasks) {
    submit_task();
    return;
  }
  detail::TracedTasks::Owner traced = detail::TracedTasks::prepare(name, now());
  // The task may end, and with it the executor, before it has been added.
  add_reference();
  try {
    submit_task();
  } catch (...) {
    drop_reference();
    throw;
  }
  core.tasks.add(std::move(traced), task);
  drop_reference();
}

void ThreadPool::submit_from_outside(StateBase& task) {
  Core& core = *core_;
  if (detail::fork_generation() != core.fork_generation) {
    throw ExecutorShutdownError("the executor belongs to the process before the fork");
  }
  const bool own = thread_context().scheduler == this;
  if (!accept()) detail::throw_shut_down();
  task.sequence_id = sequence_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a number
  if (limited_) {
    std::lock_guard lock(core.gate_mutex);
    if (core.active == core.options.max_concurrent_tasks) {
      core.gated.push(task);
      return;
    }
    ++core.active;
    task.admitted = true;
  }
  if (!limited_) task.submitter = StateBase::from_outside;
  // The task may end, and with it the executor, before we have woken its worker.
  if (!own) add_reference();
  const bool turn = task.sequence_id % turn_interval == 0;
  core.injected.push(task);
  if (turn) core.injected.turn_round();
  wake_if_needed();
  if (!own) drop_reference();
}

// On one of its own workers, without max_concurrent_tasks.
inline void ThreadPool::submit_here(StateBase& task, ThreadContext& context) {
  if (closed_.load(std::memory_order_relaxed)) [[unlikely]]
    detail::throw_shut_down();  // relaxed: see shutdown()
  context.deque->reserve();
  if (!has_sequence_id(*context.counters)) reserve_sequence_ids(*context.counters);
  push_new(task, context);
}

// One exchange: in, and counted, or out.
bool ThreadPool::accept() noexcept {
  Core& core = *core_;
  std::uint64_t accepted = core.accepted.load(std::memory_order_relaxed);  // relaxed: the exchange decides
  do {
    if ((accepted & Core::closed_bit) != 0) return false;
  } while (!core.accepted.compare_exchange_weak(accepted, accepted + 1, std::memory_order_seq_cst,
                                                std::memory_order_relaxed));
  return true;
}

// Whether next_sequence_id() has one: the first are dense, and beyond workers reserve them in blocks.
inline bool ThreadPool::has_sequence_id(const detail::WorkerCounters& own) const noexcept {
  // relaxed: a number, nothing hangs on it
  return own.next_sequence_id != own.last_sequence_id || sequence_.load(std::memory_order_relaxed) < dense_sequence_ids;
}

inline std::uint64_t ThreadPool::next_sequence_id(detail::WorkerCounters& own) noexcept {
  if (own.next_sequence_id != own.last_sequence_id) return own.next_sequence_id++;
  return sequence_.fetch_add(1, std::memory_order_relaxed);  // relaxed: as above
}

void ThreadPool::reserve_sequence_ids(detail::WorkerCounters& own) noexcept {
  own.next_sequence_id = sequence_.fetch_add(sequence_block, std::memory_order_relaxed);  // relaxed: as above
  own.last_sequence_id = own.next_sequence_id + sequence_block;
}

// ---------------------------------------------------------------------------------------------------------------------
// Counting

void ThreadPool::guest_entered() {
  if (!accept()) detail::throw_shut_down();
  core_->guests.fetch_add(1, std::memory_order_relaxed);  // relaxed: a count for stats()
}

void ThreadPool::guest_left() noexcept { leave(); }

// Elsewhere than on its own workers, which count_start().
void ThreadPool::task_started() noexcept { core_->started.fetch_add(1, std::memory_order_seq_cst); }

void ThreadPool::task_ended(StateBase& task, bool had_started) noexcept {
  Core& core = *core_;
  ThreadContext& context = thread_context();
  const detail::Outcome outcome = task.outcome.load(std::memory_order_relaxed);  // relaxed: written by this thread
  if (context.scheduler == this) [[likely]] {
    detail::WorkerCounters& own = *context.counters;
    own.count_end(outcome);
    if (!had_started) detail::WorkerCounters::add(own.ended_early);
  } else {
    (outcome == detail::Outcome::value       ? core.succeeded
     : outcome == detail::Outcome::cancelled ? core.cancelled
                                             : core.failed)
        .fetch_add(1, std::memory_order_seq_cst);
    if (!had_started) core.ended_early.fetch_add(1, std::memory_order_seq_cst);
  }
  if (limited_) admit_next(task);
}

void ThreadPool::task_left() noexcept { leave(); }

void ThreadPool::leave() noexcept {
  ThreadContext& context = thread_context();
  if (context.scheduler == this) [[likely]] {
    // This worker looks whether everything has ended before it goes to sleep.
    detail::WorkerCounters::add(context.counters->left);
    return;
  }
  add_reference();
  core_->left.fetch_add(1, std::memory_order_seq_cst);
  if ((core_->accepted.load(std::memory_order_seq_cst) & Core::closed_bit) != 0) wake_one();
  drop_reference();
}

// A task has ended: its place goes to the first that waits for one.
void ThreadPool::admit_next(StateBase& ended) noexcept {
  Core& core = *core_;
  StateBase* next = nullptr;
  NodeQueue cancelled;
  {
    std::lock_guard lock(core.gate_mutex);
    if (!ended.admitted) return;  // cancelled while it waited: it had no place
    for (;;) {
      next = static_cast<StateBase*>(core.gated.pop());
      if (next == nullptr) {
        --core.active;
        break;
      }
      if (!next->own_scope.started()) {
        next->admitted = true;
        break;
      }
      cancelled.push(*next);
    }
  }
  while (Node* node = cancelled.pop()) static_cast<StateBase*>(node)->drop(StateBase::one_owner);
  if (next != nullptr) schedule_last(*next);
}

// ---------------------------------------------------------------------------------------------------------------------
// What goes on, and when

void ThreadPool::schedule(Node& node) noexcept {
  ThreadContext& context = thread_context();
  if (context.firing_timers_of == this) {
    core_->due.push(node);
    wake_if_needed();
    return;
  }
  if (context.scheduler != this) {
    add_reference();  // what we wake may be the last of the pool
    core_->injected.push(node);
    wake_if_needed();
    drop_reference();
    return;
  }
  if (context.finishing && context.handed_over == nullptr) {
    context.handed_over = &node;  // this thread takes it as soon as it is back in its loop: no queue, nobody to wake
    return;
  }
  push(node);
  wake_if_needed();
}

// All at once: one store shows them to thieves, and one look finds who could be woken.
void ThreadPool::schedule_all(StateBase* const* tasks, std::size_t count) noexcept {
  ThreadContext& context = thread_context();
  if (context.scheduler != this || context.firing_timers_of == this || !context.deque->try_push_all(tasks, count))
      [[unlikely]] {
    while (count > 0) schedule(*tasks[--count]);
    return;
  }
  wake_if_needed();
}

// To the deque of the worker that this thread holds. To wake a task must not need memory: what there is no room for goes
// where there always is.
void ThreadPool::push(Node& node) noexcept {
  if (!thread_context().deque->try_push(&node)) core_->injected.push(node);
}

void ThreadPool::schedule_last(Node& node) noexcept {
  const bool own = thread_context().scheduler == this;
  if (!own) add_reference();
  core_->injected.push(node);
  wake_if_needed();
  if (!own) drop_reference();
}

// The sequence splitmix64, shared by all threads.
double ThreadPool::random_fraction() noexcept {
  static detail::sync::atomic<std::uint64_t> sequence{
      static_cast<std::uint64_t>(detail::sync::now().time_since_epoch().count())};
  // relaxed: any order will do
  return detail::fraction(detail::scramble(sequence.fetch_add(detail::splitmix_step, std::memory_order_relaxed)));
}

void ThreadPool::arm(detail::Timer& timer) noexcept {
  Core& core = *core_;
  const bool own = thread_context().scheduler == this;
  if (!own) add_reference();
  if (core.timers.arm(timer)) {
    PoolWorker* sleeper = nullptr;
    {
      std::lock_guard lock(core.mutex);
      if (core.has_clock) core.clock.notify_one();
      if (core.timekeeper != nullptr) {
        sleeper = core.timekeeper;
        wake(*sleeper);
      } else if (own) {
        // This worker will see to it when it has nothing else to do, or when it next has something: see work().
        core.timers_unattended.store(true, std::memory_order_relaxed);  // relaxed: a hint to the same loop
      } else if (!core.sleepers.empty()) {
        sleeper = core.sleepers.back();
        wake(*sleeper);
      }
    }
    if (sleeper != nullptr) sleeper->parker.unpark();
  }
  if (!own) drop_reference();
}

bool ThreadPool::disarm(detail::Timer& timer) noexcept { return core_->timers.disarm(timer); }

void ThreadPool::report(std::exception_ptr exception) noexcept { detail::report(core_->options, std::move(exception)); }

}  // namespace cohort
