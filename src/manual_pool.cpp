// The pool without threads. Everything that is to run is in one queue, and the thread that made the pool takes from it
// whenever it is in here: in the test's calls, and in whatever blocks. Other threads only add to the queue.

#include <cohort/detail/blocking_wait.hpp>
#include <cohort/detail/callback.hpp>
#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/detail/sync_thread.hpp>
#include <cohort/detail/thread_context.hpp>
#include <cohort/manual_pool.hpp>

#include <algorithm>     // for std::max
#include <atomic>        // for std::memory_order
#include <iostream>      // for std::cerr
#include <mutex>         // for std::lock_guard
#include <system_error>  // for std::system_error
#include <thread>        // for std::this_thread
#include <utility>       // for std::exchange
#include <vector>        // for std::vector

#include "blocked_threads.hpp"
#include "executor_options.hpp"
#include "fork_guard.hpp"
#include "manual_timers.hpp"
#include "snapshot_tasks.hpp"
#include "splitmix.hpp"
#include "traced_tasks.hpp"
#include "unbegun_tasks.hpp"

namespace cohort {

using detail::Node;
using detail::NodeQueue;
using detail::StateBase;
using detail::thread_context;
using detail::ThreadContext;

namespace {

// So many steps without a task ending are not on the way to an end.
constexpr std::uint64_t endless = 1'000'000;

}  // namespace

struct ManualPool::Core {
  // A thread that waits for the end of a shutdown.
  struct Leaving {
    Leaving* next = nullptr;
    Leaving* previous = nullptr;
    bool linked = false;
    detail::BlockingWait wait{TimePoint::max()};
  };

  explicit Core(ExecutorOptions made_with) : options(std::move(made_with)) {}

  const ExecutorOptions options;
  const std::thread::id thread = std::this_thread::get_id();
  const std::uint64_t fork_generation = detail::watch_fork_generation();
  detail::sync::atomic<std::uint64_t> references{1};
  detail::sync::atomic<Duration::rep> now{detail::sync::now().time_since_epoch().count()};  // written by the thread

  // The thread's own.
  bool shuffles = false;          // there is a seed
  std::uint64_t order_state = 0;  // of the numbers that decide what is next
  std::uint64_t jitter_state = 0;
  Duration patience = Duration::zero();
  unsigned depth = 0;      // loops of this pool that are on the stack
  bool abandoned = false;  // the executor was destroyed by one of its own tasks: the outermost loop ends what is left

  detail::sync::atomic<bool> cancels_unstarted{false};  // set by shutdown: what is found unstarted is cancelled

  detail::UnbegunTasks unbegun;

  // All that follows is under the mutex.
  mutable detail::sync::mutex mutex;
  detail::sync::condition_variable arrived;  // for the thread, while it waits for others
  NodeQueue queue;
  std::vector<Node*> shuffled;  // with a seed: what has been taken from the queue to draw from
  detail::ManualTimers timers;
  detail::IntrusiveList<Leaving> leaving;
  NodeQueue gated;         // max_concurrent_tasks: those that wait for their turn
  std::size_t active = 0;  // … and how many have theirs
  bool closed = false;
  const ThreadContext* context = nullptr;  // the thread's, while the executor is there
  std::uint64_t steps_here = 0;            // since time has moved or a task has ended
  std::uint64_t steps_since_end = 0;       // since a task has ended
  std::uint64_t sequence = 0;
  std::uint64_t unfinished = 0;  // tasks and guests that have not left
  std::uint64_t started = 0, succeeded = 0, failed = 0, cancelled = 0, ended_early = 0;

  [[nodiscard]] bool idle() const noexcept { return queue.empty() && shuffled.empty(); }

  // With mutexes of their own; no two are ever held at the same time.
  detail::TracedTasks tasks;  // all that are unfinished
  detail::BlockedThreads blocked;
};

// A loop of the pool on the stack of its thread.
class ManualPool::Driving {
 public:
  explicit Driving(ManualPool& pool) noexcept : pool_(pool) {
    pool_.add_reference();  // what runs may destroy the executor
    ++pool_.core_->depth;
  }
  Driving(const Driving&) = delete;
  Driving& operator=(const Driving&) = delete;
  ~Driving() {
    if (--pool_.core_->depth == 0 && pool_.core_->abandoned) pool_.finish();
    pool_.drop_reference();
  }

 private:
  ManualPool& pool_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Making and ending

ManualPool::ManualPool(ExecutorOptions options) : core_(std::make_unique<Core>(std::move(options))) { enlist(); }

ManualPool::~ManualPool() { delist(); }

ManualPool* ManualPool::create(ExecutorOptions options) {
  detail::check(options);
  ThreadContext& context = thread_context();
  if (context.scheduler != nullptr) {
    detail::throw_invalid_state(
        "a ManualExecutor must be made in plain code, on a thread that has no other: one can stand for several "
        "executors");
  }
  auto* const pool = new ManualPool(std::move(options));
  context.scheduler = pool;
  pool->core_->context = &context;
  try {
    if (pool->core_->options.on_worker_start) pool->core_->options.on_worker_start(0);
  } catch (...) {
    context.scheduler = nullptr;
    pool->drop_reference();
    throw;
  }
  return pool;
}

bool ManualPool::on_own_thread() const noexcept { return std::this_thread::get_id() == core_->thread; }

void ManualPool::require_own_thread() const {
  if (!on_own_thread()) detail::throw_invalid_state("a ManualExecutor is driven by the thread that made it");
}

void ManualPool::require_open() const {
  std::lock_guard lock(core_->mutex);
  if (core_->closed) detail::throw_shut_down();
}

void ManualPool::shutdown(ShutdownOptions options) {
  Core& core = *core_;
  if (detail::fork_generation() != core.fork_generation) return;  // in the child of a fork: nothing runs here
  {
    std::lock_guard lock(core.mutex);
    core.closed = true;
  }
  if (options.cancel_futures) cancel_unstarted();
  if (!options.wait) return;
  if (on_own_thread()) {
    if (core.depth != 0) return;  // in one of its own tasks
    const Driving driving(*this);
    const detail::BlockedTask below;
    if (!run_to_end()) {
      throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                              "there are tasks that never end, though they were asked to stop");
    }
    return;
  }
  Core::Leaving self;
  {
    std::lock_guard lock(core.mutex);
    if (core.unfinished == 0) return;
    core.leaving.push_back(self);
  }
  detail::block(self.wait);
}

void ManualPool::close() noexcept {
  Core& core = *core_;
  if (detail::fork_generation() != core.fork_generation) return;  // let it be
  if (on_own_thread() && core.depth != 0) {
    std::lock_guard lock(core.mutex);
    core.closed = true;
    core.abandoned = true;
    return;
  }
  require_own_thread();
  const Driving driving(*this);
  finish();
}

// The executor is gone: the last of it.
void ManualPool::finish() noexcept {
  Core& core = *core_;
  core.abandoned = false;
  {
    std::lock_guard lock(core.mutex);
    core.closed = true;
  }
  ++core.depth;
  bool ended = false;
  {
    const detail::BlockedTask below;
    ended = run_to_end();
  }
  --core.depth;
  thread_context().scheduler = nullptr;
  {
    std::lock_guard lock(core.mutex);
    core.context = nullptr;
  }
  if (!ended) {
    // The reference stays: whoever still knows the tasks may come and resume them.
    std::cerr << "cohort: a ManualExecutor was destroyed while there were tasks that never end:\n";
    try {
      std::cerr << snapshot();
    } catch (...) {
      // No memory to say which.
    }
    return;
  }
  drop_reference();
}

bool ManualPool::drained() const noexcept {
  std::lock_guard lock(core_->mutex);
  return core_->unfinished == 0 && core_->idle();
}

// Runs until everything has ended; false when something never does.
bool ManualPool::run_to_end() noexcept {
  Core& core = *core_;
  const auto going_on_for_ever = [&core] {
    std::lock_guard lock(core.mutex);
    return core.steps_since_end >= 2 * endless;
  };
  for (bool asked = false;;) {
    while (!drained() && !going_on_for_ever()) {
      if (step(Eager::no)) continue;
      const TimePoint timer = first_timer();
      if (timer != TimePoint::max()) {
        move_to(timer);
      } else if (!step(Eager::yes) && !wait_for_others(false, TimePoint::max())) {
        break;
      }
    }
    if (drained()) return true;
    if (asked) return false;
    asked = true;
    {
      std::lock_guard lock(core.mutex);
      core.steps_here = core.steps_since_end = 0;
    }
    core.tasks.stop_all();
  }
}

void ManualPool::add_reference() noexcept {
  core_->references.fetch_add(1, std::memory_order_relaxed);  // relaxed: made from another reference
}

void ManualPool::drop_reference() noexcept {
  // The last sees what all others did.
  if (core_->references.fetch_sub(1, std::memory_order_seq_cst) == 1) delete this;
}

bool ManualPool::try_add_reference() noexcept {
  std::uint64_t count = core_->references.load(std::memory_order_relaxed);  // relaxed: the exchange decides
  while (count != 0) {
    if (core_->references.compare_exchange_weak(count, count + 1, std::memory_order_relaxed))
      return true;  // relaxed: as above
  }
  return false;
}

// ---------------------------------------------------------------------------------------------------------------------
// Accepting and counting

void ManualPool::submit(StateBase& task, std::string_view name) {
  Core& core = *core_;
  if (detail::fork_generation() != core.fork_generation) {
    throw ExecutorShutdownError("the executor belongs to the process before the fork");
  }
  detail::TracedTasks::Owner traced = detail::TracedTasks::prepare(name, now());
  // It may end, and with it the executor, before it has been added to the others.
  const bool own = on_own_thread();
  if (!own) add_reference();
  bool accepted = false;
  {
    std::lock_guard lock(core.mutex);
    if (!core.closed) {
      accepted = true;
      ++core.unfinished;
      task.sequence_id = core.sequence++;
      if (core.active == core.options.max_concurrent_tasks) {
        core.gated.push(task);
      } else {
        ++core.active;
        task.admitted = true;
        core.queue.push(task);
        core.arrived.notify_one();
      }
    }
  }
  if (accepted) core.tasks.add(std::move(traced), task);
  if (!own) drop_reference();
  if (!accepted) detail::throw_shut_down();
}

void ManualPool::guest_entered() {
  std::lock_guard lock(core_->mutex);
  if (core_->closed) detail::throw_shut_down();
  ++core_->unfinished;
}

void ManualPool::guest_left() noexcept { leave(); }

void ManualPool::task_started() noexcept {
  std::lock_guard lock(core_->mutex);
  ++core_->started;
}

// Its place goes to the first that waits for one.
void ManualPool::task_ended(StateBase& task, bool had_started) noexcept {
  Core& core = *core_;
  const detail::Outcome outcome = task.outcome.load(std::memory_order_relaxed);  // relaxed: written by this thread
  NodeQueue cancelled;
  {
    std::lock_guard lock(core.mutex);
    core.steps_here = core.steps_since_end = 0;
    ++(outcome == detail::Outcome::value       ? core.succeeded
       : outcome == detail::Outcome::cancelled ? core.cancelled
                                               : core.failed);
    if (!had_started) ++core.ended_early;
    if (!task.admitted) return;  // cancelled while it waited: it had no place
    --core.active;
    while (Node* const node = core.gated.pop()) {
      auto& next = static_cast<StateBase&>(*node);
      if (next.own_scope.started()) {
        cancelled.push(next);
        continue;
      }
      ++core.active;
      next.admitted = true;
      core.queue.push(next);
      core.arrived.notify_one();
      break;
    }
  }
  while (Node* const node = cancelled.pop()) static_cast<StateBase*>(node)->drop(StateBase::one_owner);
}

void ManualPool::task_left() noexcept { leave(); }

void ManualPool::leave() noexcept {
  Core& core = *core_;
  add_reference();  // those who wait for the end may be quicker than this
  detail::IntrusiveList<Core::Leaving> told;
  {
    std::lock_guard lock(core.mutex);
    --core.unfinished;
    core.arrived.notify_one();
    if (core.closed && core.unfinished == 0) told = std::exchange(core.leaving, {});
  }
  while (Core::Leaving* const each = told.pop_front()) each->wait.signal();
  drop_reference();
}

ExecutorStats ManualPool::stats() const {
  const Core& core = *core_;
  ExecutorStats stats;
  stats.workers.resize(1);
  std::lock_guard lock(core.mutex);
  stats.submitted = core.sequence;
  stats.succeeded = core.succeeded;
  stats.failed = core.failed;
  stats.cancelled = core.cancelled;
  stats.running = core.started - (core.succeeded + core.failed + core.cancelled - core.ended_early);
  stats.pending = core.sequence - core.started - core.ended_early;
  stats.workers.front().run = core.started;
  return stats;
}

ExecutorSnapshot ManualPool::snapshot() const {
  Core& core = *core_;
  ExecutorSnapshot snapshot;
  snapshot.name = core.options.name;
  snapshot.stats = stats();
  snapshot.workers.resize(1);
  std::vector<detail::WorkerSeen> seen(1);
  {
    std::lock_guard lock(core.mutex);
    snapshot.closed = core.closed;
    snapshot.timers = core.timers.size();
    const TimePoint next_timer = core.timers.first();
    if (next_timer != TimePoint::max()) snapshot.next_timer = std::max(next_timer - now(), Duration::zero());
    snapshot.shared_queue = core.shuffled.size();
    core.queue.show([&](const Node&) { return ++snapshot.shared_queue < 10'000; });
    core.gated.show([&](const Node&) { return ++snapshot.limited < 10'000; });
    if (core.context != nullptr) seen.front().scope = core.context->current;
  }
  if (seen.front().scope == nullptr) seen.front().activity = WorkerActivity::parked;
  snapshot.workers.front().activity = seen.front().activity;
  detail::describe_tasks(snapshot, *this, now(), core.tasks.reports(), core.blocked.reports(), seen);
  return snapshot;
}

void ManualPool::report(std::exception_ptr exception) noexcept { detail::report(core_->options, std::move(exception)); }

// ---------------------------------------------------------------------------------------------------------------------
// Scheduling

void ManualPool::schedule(Node& node) noexcept {
  Core& core = *core_;
  std::lock_guard lock(core.mutex);
  core.queue.push(node);
  core.arrived.notify_one();
}

void ManualPool::schedule_all(StateBase* const* tasks, std::size_t count) noexcept {
  while (count > 0) schedule(*tasks[--count]);
}

TimePoint ManualPool::now() const noexcept {
  return TimePoint(Duration(core_->now.load(std::memory_order_relaxed)));  // relaxed: nothing hangs on it
}

void ManualPool::arm(detail::Timer& timer) noexcept {
  Core& core = *core_;
  std::lock_guard lock(core.mutex);
  core.timers.add(timer);
  core.arrived.notify_one();
}

bool ManualPool::disarm(detail::Timer& timer) noexcept {
  std::lock_guard lock(core_->mutex);
  return core_->timers.remove(timer);
}

void ManualPool::add_unbegun(detail::Unbegun& task) noexcept { core_->unbegun.add(task); }

void ManualPool::remove_unbegun(detail::Unbegun& task) noexcept { core_->unbegun.remove(task); }

// ---------------------------------------------------------------------------------------------------------------------
// Running

void ManualPool::seed(std::uint64_t seed) noexcept {
  core_->shuffles = true;
  core_->order_state = seed;
  core_->jitter_state = detail::scramble(seed);  // another sequence: retries do not change the order of the rest
}

double ManualPool::random_fraction() noexcept {
  return detail::fraction(detail::scramble(core_->jitter_state += detail::splitmix_step));
}

void ManualPool::set_patience(Duration duration) noexcept { core_->patience = duration; }

// What is to run next; null when there is nothing, or when so much has been run at this instant that time should move
// first and the caller does not want it nonetheless.
Node* ManualPool::take_next(Eager eager) noexcept {
  Core& core = *core_;
  std::lock_guard lock(core.mutex);
  if (core.steps_here >= endless && eager == Eager::no) return nullptr;
  Node* node = nullptr;
  if (core.shuffles) {
    try {
      while (!core.queue.empty()) {
        core.shuffled.push_back(nullptr);
        core.shuffled.back() = core.queue.pop();
      }
    } catch (...) {
      // No memory to draw from all: from as many as there are.
    }
    if (!core.shuffled.empty()) {
      const std::uint64_t number = detail::scramble(core.order_state += detail::splitmix_step);
      std::swap(core.shuffled[static_cast<std::size_t>(number % core.shuffled.size())], core.shuffled.back());
      node = core.shuffled.back();
      core.shuffled.pop_back();
    }
  }
  if (node == nullptr) node = core.queue.pop();
  if (node != nullptr) {
    ++core.steps_here;
    ++core.steps_since_end;
  }
  return node;
}

bool ManualPool::step(Eager eager) noexcept {
  Node* const node = take_next(eager);
  if (node == nullptr) return false;
  // relaxed: a flag
  if (core_->cancels_unstarted.load(std::memory_order_relaxed) && detail::is_queued_root(*node)) {
    detail::cancel_queued(static_cast<StateBase&>(*node));
  } else {
    node->run();
  }
  return true;
}

bool ManualPool::restless() const noexcept {
  std::lock_guard lock(core_->mutex);
  return core_->steps_here >= endless;
}

std::size_t ManualPool::run_instant() noexcept {
  {
    std::lock_guard lock(core_->mutex);
    core_->steps_here = 0;
  }
  std::size_t count = 0;
  while (step(Eager::no)) ++count;
  return count;
}

bool ManualPool::run_one() {
  require_own_thread();
  const Driving driving(*this);
  const detail::BlockedTask below;
  return step(Eager::yes);
}

std::size_t ManualPool::run_until_idle() {
  require_own_thread();
  const Driving driving(*this);
  const detail::BlockedTask below;
  return run_instant();
}

std::size_t ManualPool::advance_by(Duration duration) {
  require_own_thread();
  const Driving driving(*this);
  const detail::BlockedTask below;
  const TimePoint start = now();
  const Duration left = TimePoint::max() - start;
  const TimePoint end = duration <= Duration::zero() ? start : start + std::min(duration, left);
  std::size_t count = run_instant();
  for (TimePoint timer = first_timer(); timer <= end && timer != TimePoint::max(); timer = first_timer()) {
    move_to(timer);
    count += run_instant();
  }
  move_to(end);
  return count;
}

TimePoint ManualPool::first_timer() const noexcept {
  std::lock_guard lock(core_->mutex);
  return core_->timers.first();
}

// Lets it be `time`, unless it is later, and fires the first timers if it is theirs.
void ManualPool::move_to(TimePoint time) noexcept {
  Core& core = *core_;
  detail::Timer* due = nullptr;
  {
    std::lock_guard lock(core.mutex);
    core.steps_here = 0;
    // relaxed: as in now()
    if (time > now()) core.now.store(time.time_since_epoch().count(), std::memory_order_relaxed);
    if (core.timers.first() <= now()) due = core.timers.take_first();
  }
  while (due != nullptr) {
    detail::Timer* const next = due->following();  // first: this may end the timer's life
    due->time_out();
    due = next;
  }
}

// There is nothing to do: waits until another thread brings something, for as long as patience says; or, when what is
// waited for, or what a task waits for, is another executor's, until `limit` by the real clock. False when nobody came.
bool ManualPool::wait_for_others(bool elsewhere, TimePoint limit) noexcept {
  Core& core = *core_;
  TimePoint until = limit;
  if (!elsewhere && !core.tasks.any_waits_for_other(*this)) {
    const TimePoint start = detail::sync::now();
    until = core.patience >= TimePoint::max() - start ? TimePoint::max() : start + core.patience;
  }
  std::unique_lock lock(core.mutex);
  const std::uint64_t unfinished = core.unfinished;
  const auto something = [&] { return !core.idle() || core.timers.size() != 0 || core.unfinished != unfinished; };
  if (until == TimePoint::max()) {
    core.arrived.wait(lock, something);
    return true;
  }
  return core.arrived.wait_until(lock, until, something);
}

void ManualPool::block(detail::BlockingWait& wait) noexcept {
  Core& core = *core_;
  const Driving driving(*this);
  const detail::BlockedThreads::Entry entry(core.blocked, wait);
  wait.wake_through(*this);
  const bool timed = wait.deadline() != TimePoint::max();
  // What another executor is to do takes its time, by the real clock.
  const bool elsewhere = wait.ends_elsewhere();
  const TimePoint limit =
      timed ? detail::sync::now() + std::max(wait.deadline() - now(), Duration::zero()) : TimePoint::max();
  {
    std::lock_guard lock(core.mutex);
    core.steps_here = 0;
  }
  while (!wait.over()) {
    if (step(Eager::no)) continue;
    const TimePoint timer = first_timer();
    if (timer != TimePoint::max() && (timer <= wait.deadline() || elsewhere)) {
      move_to(timer);
      continue;
    }
    // Either there is nothing to run, or more than enough at this instant, and no timer to move to.
    const bool passed = timed && (!elsewhere || detail::sync::now() >= limit);
    if (!passed && step(Eager::yes)) continue;
    if (!(passed && restless()) && timer == TimePoint::max() && wait_for_others(elsewhere, limit)) continue;
    if (timed) move_to(wait.deadline());
    return;
  }
}

// Cancels what has not started, wherever it is queued.
void ManualPool::cancel_unstarted() noexcept {
  Core& core = *core_;
  core.cancels_unstarted.store(true, std::memory_order_relaxed);  // relaxed: for what slips through
  NodeQueue unstarted;
  {
    std::lock_guard lock(core.mutex);
    unstarted = std::exchange(core.gated, {});
    NodeQueue all = std::exchange(core.queue, {});
    while (Node* const node = all.pop()) (detail::is_queued_root(*node) ? unstarted : core.queue).push(*node);
    std::erase_if(core.shuffled, [&](Node* node) {
      if (!detail::is_queued_root(*node)) return false;
      unstarted.push(*node);
      return true;
    });
  }
  while (Node* const node = unstarted.pop()) detail::cancel_queued(static_cast<StateBase&>(*node));

  core.unbegun.cancel();
}

}  // namespace cohort
