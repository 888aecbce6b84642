// The pool: workers, how they find work, sleep and are woken, give their place away while they block, and end.
//
// A *worker* is a place to work: a deque, counters, a parking spot. There are max_workers of them for as long as the
// pool lives. A *thread* holds one worker at a time, or none: when a task blocks its thread, the thread gives its
// worker to another (a spare one, or a new one) and asks for a worker back when the wait is over; a thread at a point
// between two tasks then gives up the one it holds. So there are never more than max_workers threads running tasks, and
// never fewer able to.

#include <cohort/detail/blocking_wait.hpp>
#include <cohort/detail/callback.hpp>
#include <cohort/detail/injection_queue.hpp>
#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/latch.hpp>
#include <cohort/detail/suspension.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/detail/sync_thread.hpp>
#include <cohort/thread_pool.hpp>

#include <algorithm>  // for std::find, std::min
#include <atomic>     // for std::memory_order
#include <mutex>      // for std::lock_guard
#include <optional>   // for std::optional
#include <utility>    // for std::exchange

#include "blocked_threads.hpp"
#include "executor_options.hpp"
#include "fork_guard.hpp"
#include "look_for_a_while.hpp"
#include "parker.hpp"
#include "snapshot_tasks.hpp"
#include "splitmix.hpp"
#include "timer_wheels.hpp"
#include "traced_tasks.hpp"
#include "unbegun_tasks.hpp"

#if defined(__linux__)
#include <pthread.h>  // for pthread_setname_np
#endif

namespace cohort {

using detail::Node;
using detail::NodeQueue;
using detail::Scheduler;
using detail::StateBase;
using detail::thread_context;
using detail::ThreadContext;

std::size_t default_worker_count() noexcept { return std::max<std::size_t>(std::thread::hardware_concurrency(), 1); }

namespace detail {

// Held by one thread at a time; handed from one to the next under Core::mutex.
struct PoolWorker {
  explicit PoolWorker(std::size_t number)
      : index(number), random(static_cast<std::uint32_t>(number * 2654435761U + 1)) {}

  std::size_t index;
  WorkDeque<Node> deque;    // the owner's end is the holding thread's
  WorkerCounters counters;  // written by the holding thread
  Parker parker;
  bool parked = false;  // in Core::sleepers; under Core::mutex
  // For snapshots: the thread that holds it, under Core::mutex; and whether that is looking for work.
  const ThreadContext* held_by = nullptr;
  sync::atomic<bool> searching{false};
  std::uint32_t tick = 0;       // turns of the loop; the holding thread's
  std::uint32_t next_look = 1;  // the turn at which it looks elsewhere: see ThreadPool::look_elsewhere
  std::uint32_t random;         // where the next search for work begins; the holding thread's
  // What `counters.submitted` was when a thief last left the only task here.
  alignas(64) sync::atomic<std::uint64_t> left_at{0};
};

namespace {

// Takes on the part of a worker, and gives it up at the end.
void hold(ThreadContext& context, Scheduler& pool, PoolWorker& worker) noexcept {
  context.scheduler = &pool;
  context.deque = &worker.deque;
  context.counters = &worker.counters;
  context.worker = &worker;
  context.wheel = static_cast<std::uint16_t>(worker.index);
}

void let_go(ThreadContext& context) noexcept {
  context.scheduler = nullptr;
  context.deque = nullptr;
  context.counters = nullptr;
  context.worker = nullptr;
  context.wheel = 0;
}

void name_this_thread([[maybe_unused]] const std::string& name, [[maybe_unused]] std::size_t index) {
#if defined(__linux__)
  // The system takes at most 15 characters: the number stays, the name is cut.
  std::string full = std::to_string(index);
  full.insert(full.begin(), '-');
  full.insert(0, name, 0, 15 - std::min<std::size_t>(full.size(), 15));
  pthread_setname_np(pthread_self(), full.c_str());
#endif
}

// How many turns of a worker's loop lie between looks at what it would otherwise not see while its own deque has work:
// the shared queue, the oldest end of its own deque, the clock. Primes, so that a program's own rhythm does not meet
// them.
constexpr std::uint32_t injection_interval = 61;
constexpr std::uint32_t oldest_interval = 67;
constexpr std::uint32_t clock_interval = 31;

// How many timers are fired at once: they wait for a worker where a cache still has them, and the wheel is soon free again.
constexpr unsigned timers_at_once = 28;

// How many submissions from outside lie between those that bring the shared queue in order.
constexpr std::uint64_t turn_interval = 64;

}  // namespace
}  // namespace detail

using detail::PoolWorker;

struct ThreadPool::Core {
  // A thread that waits for a worker to hold: a spare one, or one whose blocking wait is over.
  struct Applicant {
    Applicant* next = nullptr;
    Applicant* previous = nullptr;
    bool linked = false;
    detail::sync::condition_variable condition;
    PoolWorker* worker = nullptr;  // under the mutex
  };

  explicit Core(ExecutorOptions made_with) : options(std::move(made_with)) {}

  const ExecutorOptions options;
  std::vector<std::unique_ptr<PoolWorker>> workers;
  detail::InjectionQueue injected;  // from outside, and what is to wait for everything else
  detail::InjectionQueue due;       // whose timers have fired: before what is in `injected`
  detail::TimerWheels timers{options.max_workers};
  bool driven = false;  // no threads of its own: run_to_end() drives its one worker

  detail::sync::atomic<std::uint64_t> references{1};
  std::uint64_t fork_generation = detail::watch_fork_generation();

  // Accepting from outside: the top bit says closed, the rest counts what was accepted, so that one exchange decides
  // whether a task is in or out.
  static constexpr std::uint64_t closed_bit = std::uint64_t{1} << 63U;
  detail::sync::atomic<std::uint64_t> accepted{0};
  detail::sync::atomic<std::uint64_t> guests{0};  // of these, how many were visiting coroutines
  // What threads other than the workers' have to count. Locked operations; see WorkerCounters for the rest.
  detail::sync::atomic<std::uint64_t> started{0}, succeeded{0}, failed{0}, cancelled{0}, ended_early{0}, left{0};

  // max_concurrent_tasks: tasks that wait for their turn. `gated` and each state's `admitted` are under gate_mutex.
  detail::sync::mutex gate_mutex;
  NodeQueue gated;
  std::size_t active = 0;

  detail::UnbegunTasks unbegun;

  detail::sync::atomic<bool> cancel_unstarted{false};  // set by shutdown: what is found unstarted is cancelled
  detail::sync::atomic<bool> stopped{false};           // everything has ended; threads leave
  detail::sync::atomic<std::uint32_t> applicants{
      0};  // size of `returning`; looked at by workers between tasks and before they sleep
  detail::sync::atomic<bool> timers_unattended{false};  // timers were armed and nobody watches the clock

  // Sleeping, waking and changing places: rare enough for one mutex.
  detail::sync::mutex mutex;
  std::vector<PoolWorker*> sleepers;           // last to sleep is first to wake; reserved, never reallocates
  PoolWorker* timekeeper = nullptr;            // the sleeper that sleeps only until the next timer
  detail::IntrusiveList<Applicant> returning;  // threads that want a worker back, first come first served
  detail::IntrusiveList<Applicant> spares;     // threads without work or worker
  detail::sync::condition_variable
      clock;               // for the clock thread, if there is one: the first timer has changed, or stopped
  bool has_clock = false;  // a thread watches the clock while all workers are busy
  detail::sync::condition_variable all_left;   // stopped
  std::vector<detail::sync::jthread> threads;  // under the mutex; emptied by the first to join
  bool detached = false;                       // the executor was destroyed on one of these threads: nobody will join
  detail::sync::mutex join_mutex;              // one joins, the others wait for it

  // For snapshots, with mutexes of their own: no two of all these are ever held at the same time.
  detail::TracedTasks tasks;
  detail::BlockedThreads blocked;
};

namespace {

std::uint64_t sum(std::uint64_t outside, const std::vector<std::unique_ptr<PoolWorker>>& workers,
                  detail::WorkerCounters::Counter detail::WorkerCounters::*member) {
  std::uint64_t total = outside;
  for (const auto& worker : workers) {
    total += (worker->counters.*member).load(std::memory_order_acquire);  // acquire: pairs with WorkerCounters::add
  }
  return total;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------
// Making and ending

// How the constructor learns that all threads have started.
struct ThreadPool::StartReport {
  std::size_t started = 0;  // under Core::mutex, as all of it
  std::exception_ptr error;
  detail::sync::condition_variable condition;
};

ThreadPool::ThreadPool(ExecutorOptions options) : core_(std::make_unique<Core>(std::move(options))) {
  Core& core = *core_;
  limited_ = core.options.max_concurrent_tasks != unlimited;
  core.workers.reserve(core.options.max_workers);
  plain_ = !limited_ && !core.options.trace_tasks;
  core.sleepers.reserve(core.options.max_workers);
  for (std::size_t index = 0; index < core.options.max_workers; ++index) {
    core.workers.push_back(std::make_unique<PoolWorker>(index));
  }
  enlist();
}

ThreadPool::~ThreadPool() { delist(); }

ThreadPool* ThreadPool::create(ExecutorOptions options) {
  detail::check(options);
  auto* pool = new ThreadPool(std::move(options));
  try {
    pool->start_threads();
  } catch (...) {
    pool->drop_reference();
    throw;
  }
  return pool;
}

void ThreadPool::start_threads() {
  Core& core = *core_;
  StartReport report;
  std::exception_ptr error;
  for (const auto& worker : core.workers) {
    try {
      start_thread(*worker, &report);
    } catch (...) {
      error = std::current_exception();
      break;
    }
  }
  {
    std::unique_lock lock(core.mutex);
    const std::size_t expected = core.threads.size();
    report.condition.wait(lock, [&] { return report.started == expected; });
    if (error == nullptr) error = report.error;
  }
  if (error != nullptr) {
    stop();
    join();
    std::rethrow_exception(std::move(error));
  }
}

// Starts a thread that holds `worker`; reports to `report`, if there is one, when it has begun.
void ThreadPool::start_thread(PoolWorker& worker, StartReport* report) {
  Core& core = *core_;
  std::lock_guard lock(core.mutex);
  core.threads.reserve(core.threads.size() + 1);
  add_reference();  // the thread's
  try {
    core.threads.emplace_back([this, &worker, report] { run_thread(worker, report); });
  } catch (...) {
    core.references.fetch_sub(1, std::memory_order_relaxed);  // relaxed: the caller holds another
    throw;
  }
  if (core.detached) core.threads.back().detach();
}

void ThreadPool::run_thread(PoolWorker& first, StartReport* report) noexcept {
  Core& core = *core_;
  ThreadContext& context = thread_context();
  context.owner = this;
  std::exception_ptr error;
  try {
    detail::name_this_thread(core.options.name, first.index);
    if (core.options.on_worker_start) core.options.on_worker_start(first.index);
  } catch (...) {
    error = std::current_exception();
  }
  if (report != nullptr) {
    std::lock_guard lock(core.mutex);
    if (error != nullptr && report->error == nullptr) report->error = std::move(error);
    ++report->started;
    report->condition.notify_one();
  } else if (error != nullptr) {
    this->report(std::move(error));
  }
  for (PoolWorker* worker = &first; worker != nullptr; worker = wait_as_spare()) {
    detail::hold(context, *this, *worker);
    set_holder(*worker, &context);
    work();
    if (context.worker != nullptr) set_holder(*context.worker, nullptr);
    detail::let_go(context);
  }
  context.owner = nullptr;
  drop_reference();
}

// For snapshots.
void ThreadPool::set_holder(PoolWorker& worker, const ThreadContext* context) noexcept {
  std::lock_guard lock(core_->mutex);
  worker.held_by = context;
}

// Sleeping coroutines need a worker to go on anyway; but a timeout is there to stop one that is busy, and all may be. From the
// first timeout on, a thread of its own watches the clock.
void ThreadPool::watch_clock() noexcept {
  Core& core = *core_;
  if (core.driven) return;
  std::lock_guard lock(core.mutex);
  if (core.has_clock) return;
  try {
    core.threads.reserve(core.threads.size() + 1);
    add_reference();  // the thread's
    try {
      core.threads.emplace_back([this] { run_clock(); });
    } catch (...) {
      core.references.fetch_sub(1, std::memory_order_relaxed);  // relaxed: the caller holds another
      throw;
    }
    if (core.detached) core.threads.back().detach();
    core.has_clock = true;
  } catch (...) {
    // No thread to be had: timeouts wait until a worker looks at the clock.
  }
}

void ThreadPool::run_clock() noexcept {
  Core& core = *core_;
  thread_context().owner = this;
  {
    std::unique_lock lock(core.mutex);
    while (!core.stopped.load(std::memory_order_seq_cst)) {
      const TimePoint next = core.timers.next();
      if (next == TimePoint::max()) {
        core.clock.wait(lock);
      } else if (next > detail::sync::now()) {
        core.clock.wait_until(lock, next);
      } else {
        lock.unlock();
        advance_timers();
        lock.lock();
      }
    }
  }
  thread_context().owner = nullptr;
  drop_reference();
}

bool ThreadPool::on_own_thread() const noexcept { return thread_context().owner == this; }

// Whether everything accepted has ended, after closing. What has left is read before what was submitted: each task is
// counted as submitted before it is counted as left, so equal sums mean that there was a moment, in between, with no
// task alive; and only tasks, or the outside, which is closed, can submit.
bool ThreadPool::drained() const noexcept {
  const Core& core = *core_;
  const std::uint64_t accepted_now = core.accepted.load(std::memory_order_seq_cst);
  if ((accepted_now & Core::closed_bit) == 0) return false;
  const std::uint64_t left =
      sum(core.left.load(std::memory_order_seq_cst), core.workers, &detail::WorkerCounters::left);
  return left == sum(accepted_now & ~Core::closed_bit, core.workers, &detail::WorkerCounters::submitted);
}

// Everything has ended: all threads leave.
void ThreadPool::stop() noexcept {
  Core& core = *core_;
  {
    std::lock_guard lock(core.mutex);
    core.stopped.store(true, std::memory_order_seq_cst);
    for (Core::Applicant* spare = core.spares.front(); spare != nullptr; spare = spare->next)
      spare->condition.notify_one();
    core.all_left.notify_all();
    core.clock.notify_all();
  }
  wake_all();
}

void ThreadPool::shutdown(ShutdownOptions options) {
  Core& core = *core_;
  if (detail::fork_generation() != core.fork_generation) return;  // in the child of a fork: nothing runs here
  closed_.store(true,
                std::memory_order_relaxed);  // relaxed: a worker's own submission that misses it is counted in time
  core.accepted.fetch_or(Core::closed_bit, std::memory_order_seq_cst);
  if (options.cancel_futures) cancel_unstarted();
  wake_all();  // a worker finds out whether everything has ended
  if (options.wait && !on_own_thread()) join();
}

void ThreadPool::join() noexcept {
  Core& core = *core_;
  // When this is a worker of another pool, that goes on working meanwhile.
  ThreadContext& context = thread_context();
  PoolWorker* const own = context.worker;
  ThreadPool* const own_pool = own != nullptr ? static_cast<ThreadPool*>(context.scheduler) : nullptr;
  const bool gave_way = own_pool != nullptr && own_pool->give_way(*own);
  if (own_pool != nullptr && !gave_way) own_pool->drive_until_ended(core);
  {
    std::lock_guard joining(core.join_mutex);
    std::vector<detail::sync::jthread> threads;
    {
      std::unique_lock lock(core.mutex);
      core.all_left.wait(lock, [&] { return core.stopped.load(std::memory_order_seq_cst); });
      threads.swap(core.threads);
    }
    threads.clear();  // joins
  }
  if (gave_way) own_pool->take_place();
}

void ThreadPool::close() noexcept {
  Core& core = *core_;
  if (detail::fork_generation() != core.fork_generation) {
    // In the child of a fork the threads do not exist, and what they held is as they left it: let it be.
    return;
  }
  shutdown({});
  if (on_own_thread()) {
    std::lock_guard lock(core.mutex);
    core.detached = true;
    for (detail::sync::jthread& thread : core.threads) thread.detach();
    core.threads.clear();
  }
  drop_reference();
}

void ThreadPool::add_reference() noexcept {
  core_->references.fetch_add(1, std::memory_order_relaxed);  // relaxed: made from another reference
}

void ThreadPool::drop_reference() noexcept {
  // The last sees what all others did.
  if (core_->references.fetch_sub(1, std::memory_order_seq_cst) == 1) delete this;
}

bool ThreadPool::try_add_reference() noexcept {
  std::uint64_t count = core_->references.load(std::memory_order_relaxed);  // relaxed: the exchange decides
  while (count != 0) {
    if (core_->references.compare_exchange_weak(count, count + 1, std::memory_order_relaxed))
      return true;  // relaxed: as above
  }
  return false;
}

bool ThreadPool::driven() const noexcept { return core_->driven; }

// ---------------------------------------------------------------------------------------------------------------------
// Accepting

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

inline void ThreadPool::wake_if_needed() noexcept {
  // seq_cst: after the push, which is seq_cst too. A worker going to sleep first announces itself in idle_, then
  // looks at the queues: either it sees the push, or we see it.
  const std::uint64_t idle = idle_.load(std::memory_order_seq_cst);
  if (idle != 0 && idle < one_searching) [[unlikely]]
    wake_one();  // somebody sleeps and nobody is searching
}

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

// On one of its own workers, without max_concurrent_tasks.
inline void ThreadPool::submit_here(StateBase& task, ThreadContext& context) {
  if (closed_.load(std::memory_order_relaxed)) [[unlikely]]
    detail::throw_shut_down();  // relaxed: see shutdown()
  context.deque->reserve();
  if (!has_sequence_id(*context.counters)) reserve_sequence_ids(*context.counters);
  push_new(task, context);
}

inline void ThreadPool::push_new(StateBase& task, ThreadContext& context) noexcept {
  task.sequence_id = next_sequence_id(*context.counters);
  task.starts_in_place = true;
  detail::WorkerCounters::add(context.counters->submitted);
  context.deque->push_reserved(&task);
  wake_if_needed();
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
  task.starts_in_place = !limited_;
  // The task may end, and with it the executor, before we have woken its worker.
  if (!own) add_reference();
  const bool turn = task.sequence_id % detail::turn_interval == 0;
  core.injected.push(task);
  if (turn) core.injected.turn_round();
  wake_if_needed();
  if (!own) drop_reference();
}

void ThreadPool::guest_entered() {
  if (!accept()) detail::throw_shut_down();
  core_->guests.fetch_add(1, std::memory_order_relaxed);  // relaxed: a count for stats()
}

void ThreadPool::guest_left() noexcept { leave(); }

// ---------------------------------------------------------------------------------------------------------------------
// Counting

void ThreadPool::task_started() noexcept {
  ThreadContext& context = thread_context();
  if (context.scheduler == this) [[likely]] {
    detail::WorkerCounters::add(context.counters->started);
  } else {
    core_->started.fetch_add(1, std::memory_order_seq_cst);
  }
}

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

ExecutorStats ThreadPool::stats() const {
  const Core& core = *core_;
  using Counters = detail::WorkerCounters;
  ExecutorStats stats;
  // Ends before starts before submissions, so that no difference is negative. acquire: as in sum().
  const std::uint64_t ended_early =
      sum(core.ended_early.load(std::memory_order_acquire), core.workers, &Counters::ended_early);
  stats.succeeded = sum(core.succeeded.load(std::memory_order_acquire), core.workers, &Counters::succeeded);
  stats.failed = sum(core.failed.load(std::memory_order_acquire), core.workers, &Counters::failed);
  stats.cancelled = sum(core.cancelled.load(std::memory_order_acquire), core.workers, &Counters::cancelled);
  // acquire: still as in sum()
  const std::uint64_t started = sum(core.started.load(std::memory_order_acquire), core.workers, &Counters::started);
  const std::uint64_t guests = core.guests.load(std::memory_order_acquire);
  stats.submitted =
      sum(core.accepted.load(std::memory_order_acquire) & ~Core::closed_bit, core.workers, &Counters::submitted) -
      guests;
  const auto difference = [](std::uint64_t more, std::uint64_t less) { return more > less ? more - less : 0; };
  stats.running = difference(started, difference(stats.succeeded + stats.failed + stats.cancelled, ended_early));
  stats.pending = difference(stats.submitted, started + ended_early);
  for (const auto& worker : core.workers) {
    // acquire: pairs with WorkerCounters::add
    stats.workers.push_back({.run = worker->counters.started.load(std::memory_order_acquire),
                             .stolen = worker->counters.stolen.load(std::memory_order_acquire)});
  }
  return stats;
}

ExecutorSnapshot ThreadPool::snapshot() const {
  Core& core = *core_;
  constexpr std::size_t most_counted = 10'000;
  constexpr std::size_t most_listed = 1'000;
  ExecutorSnapshot snapshot;
  snapshot.name = core.options.name;
  snapshot.closed = closed_.load(std::memory_order_relaxed);  // relaxed: a moment's view
  snapshot.stats = stats();
  snapshot.timers = core.timers.size();
  const TimePoint next_timer = core.timers.next();
  if (next_timer != TimePoint::max()) snapshot.next_timer = std::max(next_timer - now(), Duration::zero());

  // What is in the queues stays there, and alive, while their locks are held: just long enough to take down numbers.
  std::vector<std::uint64_t> queued;
  queued.reserve(2 * most_listed);
  std::size_t listed = 0;
  const auto look = [&](const Node& node) {
    if (node.run != &detail::run_root) return;
    const auto& task = static_cast<const StateBase&>(node);
    if (task.own_scope.started() || ++listed > most_listed) return;
    queued.push_back(task.sequence_id);
  };
  const auto show = [&](const Node& node) {
    look(node);
    return ++snapshot.shared_queue < most_counted;
  };
  core.due.show(show);
  core.injected.show(show);
  if (limited_) {
    std::lock_guard lock(core.gate_mutex);
    listed = 0;
    core.gated.show([&](const Node& node) {
      look(node);
      return ++snapshot.limited < most_counted;
    });
  }
  for (const std::uint64_t number : queued)
    snapshot.tasks.push_back({.sequence_id = number, .activity = TaskActivity::queued});

  std::vector<detail::WorkerSeen> seen(core.workers.size());
  {
    std::lock_guard lock(core.mutex);  // so that no thread lets go of its worker, and ends
    for (std::size_t index = 0; index < seen.size(); ++index) {
      const PoolWorker& worker = *core.workers[index];
      // relaxed: a moment's view
      seen[index].activity = worker.parked                                      ? WorkerActivity::parked
                             : worker.searching.load(std::memory_order_relaxed) ? WorkerActivity::searching
                                                                                : WorkerActivity::running;
      if (worker.held_by != nullptr) seen[index].scope = worker.held_by->current;
    }
  }
  for (std::size_t index = 0; index < seen.size(); ++index)
    snapshot.workers.push_back({.activity = seen[index].activity, .queued = core.workers[index]->deque.size()});

  detail::describe_tasks(snapshot, *this, now(), core.tasks.reports(), core.blocked.reports(), seen);
  return snapshot;
}

std::size_t ThreadPool::max_workers() const noexcept { return core_->options.max_workers; }

// ---------------------------------------------------------------------------------------------------------------------
// Scheduling

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
  // To wake a task must not need memory: what the deque has no room for goes where there always is.
  if (!context.deque->try_push(&node)) core_->injected.push(node);
  wake_if_needed();
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

// ---------------------------------------------------------------------------------------------------------------------
// Working

// Takes a sleeper off the list, on its way to being a searcher; the caller then unparks it. Under the mutex.
void ThreadPool::wake(PoolWorker& sleeper) noexcept {
  Core& core = *core_;
  core.sleepers.erase(std::find(core.sleepers.begin(), core.sleepers.end(), &sleeper));
  if (core.timekeeper == &sleeper) core.timekeeper = nullptr;
  sleeper.parked = false;
  idle_.fetch_add(one_searching - one_parked, std::memory_order_seq_cst);  // seq_cst: see wake_if_needed()
}

void ThreadPool::wake_one() noexcept {
  Core& core = *core_;
  PoolWorker* sleeper = nullptr;
  {
    std::lock_guard lock(core.mutex);
    if (core.sleepers.empty()) return;
    sleeper = core.sleepers.back();
    wake(*sleeper);
  }
  sleeper->parker.unpark();
}

void ThreadPool::wake_all() noexcept {
  Core& core = *core_;
  std::lock_guard lock(core.mutex);
  while (!core.sleepers.empty()) {
    PoolWorker* sleeper = core.sleepers.back();
    wake(*sleeper);
    sleeper->parker.unpark();
  }
}

namespace {

// Whether all that `victim` has is one task that it has just submitted: most likely it is about to await it, and to run
// it on the spot for less than it costs to have it elsewhere. If it is still there at the next look, it is not.
bool is_fresh(PoolWorker& victim) noexcept {
  if (victim.deque.size() != 1) return false;
  // relaxed, all of them: nothing hangs on it but when the task is taken
  const std::uint64_t submitted = victim.counters.submitted.load(std::memory_order_relaxed);
  if (victim.left_at.load(std::memory_order_relaxed) == submitted) return false;
  victim.left_at.store(submitted, std::memory_order_relaxed);
  return true;
}

}  // namespace

Node* ThreadPool::steal(PoolWorker& thief) noexcept {
  const auto& workers = core_->workers;
  const std::size_t count = workers.size();
  thief.random = thief.random * 1664525U + 1013904223U;
  std::size_t index = (thief.random >> 8U) % count;
  for (std::size_t tried = 0; tried < count; ++tried, index = index + 1 == count ? 0 : index + 1) {
    PoolWorker& victim = *workers[index];
    if (&victim == &thief || is_fresh(victim)) continue;
    if (Node* node = victim.deque.steal()) {
      detail::WorkerCounters::add(thief.counters.stolen);
      return node;
    }
  }
  return nullptr;
}

// The next thing to do for a worker that need not search far: its own newest first.
Node* ThreadPool::next(PoolWorker& worker) noexcept {
  Node* node = nullptr;
  if (++worker.tick == worker.next_look) [[unlikely]]
    node = look_elsewhere(worker);
  return node != nullptr ? node : take(worker);
}

// Something that its own deque would hide, when it is time to look for such.
Node* ThreadPool::look_elsewhere(PoolWorker& worker) noexcept {
  Core& core = *core_;
  const auto turns_to = [&worker](std::uint32_t interval) { return interval - worker.tick % interval; };
  worker.next_look = worker.tick + std::min({turns_to(detail::injection_interval), turns_to(detail::oldest_interval),
                                             turns_to(detail::clock_interval)});
  if (worker.tick % detail::injection_interval == 0) return core.injected.pop();
  if (worker.tick % detail::oldest_interval == 0) return worker.deque.steal();
  if (worker.tick % detail::clock_interval != 0) return nullptr;
  if (core.timers.next() != TimePoint::max() && core.due.empty()) advance_timers();
  return core.due.pop();
}

Node* ThreadPool::take(PoolWorker& worker) noexcept {
  Core& core = *core_;
  if (Node* node = worker.deque.pop()) return node;
  if (Node* node = core.due.pop()) return node;
  if (core.timers.behind(worker.index)) [[unlikely]] {
    advance_timers();
    if (Node* node = worker.deque.pop()) return node;
    if (Node* node = core.due.pop()) return node;
  }
  return core.injected.pop();
}

bool ThreadPool::has_work() const noexcept {
  const Core& core = *core_;
  if (!core.injected.empty() || !core.due.empty()) return true;
  for (const auto& worker : core.workers) {
    if (!worker->deque.empty()) return true;
  }
  return false;
}

// Searches for work and sleeps in between. Null when the worker should do something else: leave, or give its place
// away.
Node* ThreadPool::search(PoolWorker& worker, TimePoint until) noexcept {
  Core& core = *core_;
  idle_.fetch_add(one_searching, std::memory_order_seq_cst);
  worker.searching.store(true, std::memory_order_relaxed);  // relaxed: for snapshots
  Node* found = nullptr;
  for (;;) {
    if (core.timers.next() != TimePoint::max()) advance_timers();
    detail::look_for_a_while([&] {
      found = take(worker);
      if (found == nullptr) found = steal(worker);
      // While others look, once is enough. relaxed: hints, both.
      const bool alone = idle_.load(std::memory_order_relaxed) / one_searching == 1;
      return found != nullptr || !alone || thread_context().handed_over != nullptr ||
             core.applicants.load(std::memory_order_relaxed) != 0;
    });
    if (found != nullptr || core.stopped.load(std::memory_order_seq_cst) ||
        core.applicants.load(std::memory_order_seq_cst) != 0 || thread_context().handed_over != nullptr ||
        detail::sync::now() >= until) {
      break;
    }

    // Announce, then look once more, then sleep: whoever makes work does it in the other order, so one sees the other.
    TimePoint wake_time = until;
    {
      std::lock_guard lock(core.mutex);
      core.sleepers.push_back(&worker);
      worker.parked = true;
      idle_.fetch_add(one_parked - one_searching, std::memory_order_seq_cst);  // seq_cst: see wake_if_needed()
      core.timers_unattended.store(false, std::memory_order_relaxed);          // relaxed: as in arm()
      const TimePoint timer = core.timers.next();
      if (timer != TimePoint::max() && core.timekeeper == nullptr) core.timekeeper = &worker;
      if (core.timekeeper == &worker) wake_time = std::min(wake_time, timer);
    }
    // Over, when everything has ended and even the entries of tasks that were cancelled are out of the queues.
    const bool idle = !has_work();
    const bool over = idle && drained();
    if (idle && !over && !core.stopped.load(std::memory_order_seq_cst) &&
        core.applicants.load(std::memory_order_seq_cst) == 0) {
      worker.parker.park(wake_time);
    }
    bool woken = true;
    {
      std::lock_guard lock(core.mutex);
      if (worker.parked) {
        wake(worker);
        woken = false;
      }
    }
    if (woken) worker.parker.wait_for_unpark();  // taken off the list by somebody: their token is here, or on its way
    if (over) stop();
  }
  worker.searching.store(false, std::memory_order_relaxed);  // relaxed: for snapshots
  const std::uint64_t before = idle_.fetch_sub(one_searching, std::memory_order_seq_cst);
  // The last searcher to leave, with something or without, wakes the next: those who made work meanwhile, and the
  // clock, counted on it.
  const bool sleepers = (before & (one_searching - 1)) != 0;
  if (sleepers && before / one_searching == 1 && (has_work() || timers_need_attention())) wake_one();
  return found;
}

// Those whose time has come continue in the order of their deadlines, and before what has not begun.
void ThreadPool::advance_timers() noexcept {
  ThreadContext& context = thread_context();
  context.firing_timers_of = this;
  core_->timers.advance(detail::sync::now(), detail::timers_at_once, context.scheduler == this ? context.wheel : 0);
  context.firing_timers_of = nullptr;
  for (Node* alarm = std::exchange(context.alarms, nullptr); alarm != nullptr;) {
    Node* const next = alarm->next;  // first: pushed, it may be taken, and over
    if (!context.deque->try_push(alarm)) core_->due.push(*alarm);
    wake_if_needed();
    alarm = next;
  }
}

// Timers are pending and nobody watches the clock.
bool ThreadPool::timers_need_attention() noexcept {
  Core& core = *core_;
  if (core.timers.next() == TimePoint::max()) return false;
  std::lock_guard lock(core.mutex);
  return core.timekeeper == nullptr;
}

// The loop of a thread that holds a worker, until everything has ended or it gives the worker away. What it runs may
// block and come back with another worker: nothing of the worker is kept across it.
void ThreadPool::work() noexcept {
  Core& core = *core_;
  for (;;) {
    ThreadContext& context = thread_context();
    PoolWorker& worker = *context.worker;
    if (core.applicants.load(std::memory_order_relaxed) != 0 && give_place(worker)) [[unlikely]]
      return;  // relaxed: a hint
    Node* node = std::exchange(context.handed_over, nullptr);
    if (node == nullptr) node = next(worker);
    if (node == nullptr) node = search(worker, TimePoint::max());
    if (node == nullptr) {
      if (core.stopped.load(std::memory_order_seq_cst)) return;
      continue;
    }
    run_node(*node);
  }
}

void ThreadPool::run_node(Node& node) noexcept {
  Core& core = *core_;
  // Before something that may take long: is somebody to watch the clock?
  if (core.timers_unattended.load(std::memory_order_relaxed)) [[unlikely]] {  // relaxed: set by this thread, or late
    core.timers_unattended.store(false, std::memory_order_relaxed);
    wake_one();
  }
  if (core.cancel_unstarted.load(std::memory_order_relaxed) && node.run == &detail::run_root)
      [[unlikely]] {  // relaxed: a flag
    auto& task = static_cast<StateBase&>(node);
    detail::cancel_queued(task);
    return;
  }
  node.run(node);
}

// Cancels what has not started, wherever it is queued. What has is put back.
void ThreadPool::cancel_unstarted() noexcept {
  Core& core = *core_;
  core.cancel_unstarted.store(true, std::memory_order_relaxed);  // relaxed: for what slips through
  NodeQueue unstarted;
  NodeQueue others;
  if (limited_) {
    std::lock_guard lock(core.gate_mutex);
    while (Node* node = core.gated.pop()) unstarted.push(*node);
  }
  const auto sort = [&](Node& node) { (node.run == &detail::run_root ? unstarted : others).push(node); };
  while (Node* node = core.injected.pop()) sort(*node);
  for (const auto& worker : core.workers) {
    while (!worker->deque.empty()) {
      if (Node* node = worker->deque.steal()) sort(*node);
    }
  }
  while (Node* node = others.pop()) schedule_last(*node);
  while (Node* node = unstarted.pop()) detail::cancel_queued(static_cast<StateBase&>(*node));

  core.unbegun.cancel();
}

void ThreadPool::add_unbegun(detail::Unbegun& task) noexcept { core_->unbegun.add(task); }

void ThreadPool::remove_unbegun(detail::Unbegun& task) noexcept { core_->unbegun.remove(task); }

// ---------------------------------------------------------------------------------------------------------------------
// Changing places

// The calling thread is about to block: another takes over its worker. False when no thread can be had.
bool ThreadPool::give_way(PoolWorker& worker) noexcept {
  Core& core = *core_;
  if (core.driven) return false;
  detail::let_go(thread_context());
  {
    std::lock_guard lock(core.mutex);
    worker.held_by = nullptr;
    if (pass_on(worker)) return true;
  }
  try {
    start_thread(worker, nullptr);
    return true;
  } catch (...) {
    detail::hold(thread_context(), *this, worker);
    set_holder(worker, &thread_context());
    return false;
  }
}

// To a thread that waits for a worker; false when none does. Under the mutex.
bool ThreadPool::pass_on(PoolWorker& worker) noexcept {
  Core& core = *core_;
  Core::Applicant* next = core.returning.pop_front();
  if (next != nullptr) {
    core.applicants.fetch_sub(1, std::memory_order_seq_cst);  // seq_cst: as in take_place()
  } else {
    next = core.spares.pop_front();
  }
  if (next == nullptr) return false;
  next->worker = &worker;
  next->condition.notify_one();
  return true;
}

// The calling thread's wait is over: it waits for a worker.
void ThreadPool::take_place() noexcept {
  Core& core = *core_;
  Core::Applicant self;
  std::unique_lock lock(core.mutex);
  core.returning.push_back(self);
  core.applicants.fetch_add(1, std::memory_order_seq_cst);  // seq_cst: before the look for sleepers; see search()
  if (!core.sleepers.empty()) {
    PoolWorker* sleeper = core.sleepers.back();
    wake(*sleeper);
    sleeper->parker.unpark();
  }
  self.condition.wait(lock, [&] { return self.worker != nullptr; });
  detail::hold(thread_context(), *this, *self.worker);
  self.worker->held_by = &thread_context();
}

// Between two tasks: gives the worker to a thread that wants one back. True when it did.
bool ThreadPool::give_place(PoolWorker& worker) noexcept {
  Core& core = *core_;
  ThreadContext& context = thread_context();
  if (Node* node = std::exchange(context.handed_over, nullptr)) schedule(*node);
  std::lock_guard lock(core.mutex);
  if (core.returning.empty()) return false;
  detail::let_go(context);
  worker.held_by = nullptr;
  return pass_on(worker);
}

// A thread without a worker waits until it is given one; null when everything has ended.
PoolWorker* ThreadPool::wait_as_spare() noexcept {
  Core& core = *core_;
  Core::Applicant self;
  std::unique_lock lock(core.mutex);
  if (core.stopped.load(std::memory_order_seq_cst)) return nullptr;
  core.spares.push_back(self);
  self.condition.wait(lock, [&] { return self.worker != nullptr || core.stopped.load(std::memory_order_seq_cst); });
  if (self.worker == nullptr) core.spares.remove(self);
  return self.worker;
}

void ThreadPool::block(detail::BlockingWait& wait) noexcept {
  PoolWorker* worker = thread_context().worker;
  const detail::BlockedThreads::Entry entry(core_->blocked, wait);
  if (give_way(*worker)) {
    wait.wait();
    take_place();
    return;
  }
  // This thread is all there is: it goes on working until the wait is over.
  wait.wake_through(*this);
  drive(wait);
}

// Works until `wait` is over or its deadline has passed.
void ThreadPool::drive(detail::BlockingWait& wait) noexcept {
  while (!wait.over()) {
    PoolWorker& worker = *thread_context().worker;
    Node* node = std::exchange(thread_context().handed_over, nullptr);
    if (node == nullptr) node = next(worker);
    if (node == nullptr) {
      if (wait.deadline() != TimePoint::max() && detail::sync::now() >= wait.deadline()) return;
      // Somebody else may run the node that ends the wait, without waking us: then look now and then.
      const TimePoint look = core_->driven ? TimePoint::max() : detail::deadline_after(std::chrono::milliseconds(1));
      node = search(worker, std::min(wait.deadline(), look));
    }
    if (node != nullptr) run_node(*node);
  }
}

// Works until `other` has ended.
void ThreadPool::drive_until_ended(const Core& other) noexcept {
  const detail::BlockedTask below;
  while (!other.stopped.load(std::memory_order_seq_cst)) {
    PoolWorker& worker = *thread_context().worker;
    Node* node = std::exchange(thread_context().handed_over, nullptr);
    if (node == nullptr) node = next(worker);
    // Nobody wakes us at the end: then look now and then.
    if (node == nullptr) node = search(worker, detail::deadline_after(std::chrono::milliseconds(1)));
    if (node != nullptr) run_node(*node);
  }
}

void ThreadPool::run_to_end(StateBase& task) {
  struct End : detail::Latch {
    explicit End(Scheduler& pool) noexcept : wait(TimePoint::max()) {
      begin(1, nullptr, &pool, nullptr);
      run = [](Node& node) noexcept { static_cast<End&>(node).wait.signal(); };
    }
    detail::BlockingWait wait;
  };
  const auto run_on = [&task](Scheduler& pool) {
    End end(pool);
    detail::begin_branch(task, end, 0, &pool, &task.own_scope);
    end.wait.wake_through(pool);
    pool.schedule(task);
    pool.block(end.wait);
    if (end.wait.over()) return;
    // Nothing is left to do, and the coroutine still waits for something. It is asked to stop: it has to end before its
    // frame can go.
    task.own_scope.request_stop();
    pool.block(end.wait);
    if (!end.wait.over()) {
      end.wait.expect_signal();
      pool.block(end.wait);
    }
    detail::throw_never_done();
  };

  ThreadContext& context = thread_context();
  const detail::BlockedTask below;  // what runs on this stack stands back
  if (context.scheduler != nullptr && context.scheduler->driven()) {
    run_on(*context.scheduler);  // a sync_wait inside a sync_wait, or on a manual pool's thread: one loop serves both
    return;
  }
  PoolWorker* const own = context.worker;
  auto* const outer = own != nullptr ? static_cast<ThreadPool*>(context.scheduler) : nullptr;
  auto* pool = new ThreadPool(ExecutorOptions{.max_workers = 1, .name = "sync_wait"});
  pool->core_->driven = true;
  const bool gave_way = outer != nullptr && outer->give_way(*own);
  if (outer == nullptr || gave_way) {
    const ThreadContext before = context;  // a pool of another type keeps what it has set
    PoolWorker& worker = *pool->core_->workers.front();
    detail::hold(context, *pool, worker);
    pool->set_holder(worker, &context);
    run_on(*pool);
    pool->set_holder(worker, nullptr);
    context.scheduler = before.scheduler;
    context.deque = before.deque;
    context.counters = before.counters;
    context.worker = before.worker;
    context.wheel = before.wheel;
    if (gave_way) outer->take_place();
  } else {
    run_on(*outer);
  }
  pool->drop_reference();
}

}  // namespace cohort
