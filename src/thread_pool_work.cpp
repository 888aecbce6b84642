// How workers find work, sleep and are woken: see thread_pool_core.hpp.

#include <cohort/detail/state.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/thread_pool.hpp>

#include <algorithm>  // for std::find, std::min
#include <array>      // for std::array
#include <atomic>     // for std::memory_order
#include <mutex>      // for std::lock_guard, std::unique_lock
#include <utility>    // for std::exchange

#include "look_for_a_while.hpp"
#include "thread_pool_core.hpp"

namespace cohort {

using detail::Node;
using detail::NodeQueue;
using detail::PoolWorker;
using detail::StateBase;
using detail::thread_context;
using detail::ThreadContext;

namespace {

// How many turns of a worker's loop lie between looks at what it would otherwise not see while its own deque has work:
// the shared queue, the oldest end of its own deque, the clock. Primes, so that a program's own rhythm does not meet
// them.
constexpr std::uint32_t injection_interval = 61;
constexpr std::uint32_t oldest_interval = 67;
constexpr std::uint32_t clock_interval = 31;

// How many timers are fired at once: they wait for a worker where a cache still has them, and the wheel is soon free again.
constexpr unsigned timers_at_once = 28;

// Of what another worker has, a thief takes that part, rounded down, and one more than this at most.
constexpr std::size_t share_divisor = 8;
constexpr std::size_t most_at_once = 15;

}  // namespace

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

// The oldest task of another worker.
Node* ThreadPool::steal(PoolWorker& thief) noexcept {
  const auto& workers = core_->workers;
  const std::size_t count = workers.size();
  thief.random = thief.random * 1664525U + 1013904223U;
  std::size_t index = (thief.random >> 8U) % count;
  for (std::size_t tried = 0; tried < count; ++tried, index = index + 1 == count ? 0 : index + 1) {
    PoolWorker& victim = *workers[index];
    if (&victim == &thief || is_fresh(victim)) continue;
    if (Node* node = victim.deque.steal()) {
      steal_share(victim);
      return node;
    }
  }
  return nullptr;
}

// More for the deque of a worker that has nothing in it, from one that has very many: so the thief does not come back for
// each of them to lines on which the other is at work. One thief at a time: the others have their one.
void ThreadPool::steal_share(PoolWorker& victim) noexcept {
  std::array<Node*, most_at_once> share;
  const std::size_t size = std::min(victim.deque.size() / share_divisor, share.size());
  if (size == 0) return;
  std::unique_lock lock(core_->share_mutex, std::try_to_lock);
  if (!lock) return;
  std::size_t count = 0;
  while (count < size && (share[count] = victim.deque.steal()) != nullptr) ++count;
  while (count > 0) push(*share[--count]);  // the oldest on top, to run next
}

// The next thing to do for a worker that need not search far: what it has been handed, then its own newest.
Node* ThreadPool::next(PoolWorker& worker) noexcept {
  Node* const handed_over = std::exchange(thread_context().handed_over, nullptr);
  if (++worker.tick == worker.next_look) [[unlikely]] {
    if (Node* node = look_elsewhere(worker)) {
      if (handed_over != nullptr) schedule(*handed_over);  // it must not wait for what may take long
      return node;
    }
  }
  return handed_over != nullptr ? handed_over : take(worker);
}

// Something that its own deque would hide, when it is time to look for such.
Node* ThreadPool::look_elsewhere(PoolWorker& worker) noexcept {
  Core& core = *core_;
  // What others_wait() has seen, in two turns.
  if (worker.others != PoolWorker::Others::none) {
    worker.next_look = worker.tick + 1;
    if (worker.others == PoolWorker::Others::due) {
      worker.others = PoolWorker::Others::outside;
      if (Node* node = core.due.pop()) return node;
    }
    worker.others = PoolWorker::Others::none;
    return core.injected.pop();
  }
  const auto turns_to = [&worker](std::uint32_t interval) { return interval - worker.tick % interval; };
  worker.next_look =
      worker.tick + std::min({turns_to(injection_interval), turns_to(oldest_interval), turns_to(clock_interval)});
  if (worker.tick % injection_interval == 0) return core.injected.pop();
  if (worker.tick % oldest_interval == 0)
    return worker.oldest_pace.due(worker.deque.bottom(), worker.deque.size()) ? worker.deque.steal() : nullptr;
  if (worker.tick % clock_interval != 0) return nullptr;
  look_at_clock();
  return core.due.pop();
}

// Whether the time of more has come, when all whose time had come go on already.
void ThreadPool::look_at_clock() noexcept {
  Core& core = *core_;
  if (core.timers.next() != TimePoint::max() && core.due.empty()) advance_timers();
}

bool ThreadPool::others_wait() noexcept {
  Core& core = *core_;
  PoolWorker& worker = *thread_context().worker;
  const std::size_t before = worker.deque.size();
  look_at_clock();
  const bool wait = !core.due.empty() || !core.injected.empty();
  if (wait) {
    worker.others = PoolWorker::Others::due;
    worker.next_look = worker.tick + 1;
  }
  // Or alarms, which come first anyway. relaxed: a hint
  return wait || worker.deque.size() > before || core.applicants.load(std::memory_order_relaxed) != 0;
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
  worker.oldest_pace.begin_anew();
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
  core_->timers.advance(detail::sync::now(), timers_at_once, context.scheduler == this ? context.worker_index : 0);
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
    Node* node = next(worker);
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
  if (core.cancel_unstarted.load(std::memory_order_relaxed) && detail::is_queued_root(node))
      [[unlikely]] {  // relaxed: a flag
    auto& task = static_cast<StateBase&>(node);
    detail::cancel_queued(task);
    return;
  }
  node.run();
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
  const auto sort = [&](Node& node) { (detail::is_queued_root(node) ? unstarted : others).push(node); };
  while (Node* node = core.injected.pop()) sort(*node);
  {
    std::lock_guard lock(core.share_mutex);
    for (const auto& worker : core.workers) {
      while (!worker->deque.empty()) {
        if (Node* node = worker->deque.steal()) sort(*node);
      }
    }
  }
  while (Node* node = others.pop()) schedule_last(*node);
  while (Node* node = unstarted.pop()) detail::cancel_queued(static_cast<StateBase&>(*node));

  core.unbegun.cancel();
}

void ThreadPool::add_unbegun(detail::Unbegun& task) noexcept { core_->unbegun.add(task); }

void ThreadPool::remove_unbegun(detail::Unbegun& task) noexcept { core_->unbegun.remove(task); }

}  // namespace cohort
