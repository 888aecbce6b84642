// What the pool says of itself: see thread_pool_core.hpp.

#include <cohort/detail/state.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/thread_pool.hpp>

#include <algorithm>  // for std::max
#include <atomic>     // for std::memory_order
#include <mutex>      // for std::lock_guard
#include <vector>     // for std::vector

#include "snapshot_tasks.hpp"
#include "thread_pool_core.hpp"

namespace cohort {

using detail::Node;
using detail::PoolWorker;
using detail::StateBase;

ExecutorStats ThreadPool::stats() const {
  const Core& core = *core_;
  using Counters = detail::WorkerCounters;
  ExecutorStats stats;
  // Ends before starts before submissions, so that no difference is negative. acquire: as in detail::sum().
  const std::uint64_t ended_early =
      detail::sum(core.ended_early.load(std::memory_order_acquire), core.workers, &Counters::ended_early);
  stats.succeeded = detail::sum(core.succeeded.load(std::memory_order_acquire), core.workers, &Counters::succeeded);
  stats.failed = detail::sum(core.failed.load(std::memory_order_acquire), core.workers, &Counters::failed);
  stats.cancelled = detail::sum(core.cancelled.load(std::memory_order_acquire), core.workers, &Counters::cancelled);
  // acquire: still as in detail::sum()
  const std::uint64_t started =
      detail::sum(core.started.load(std::memory_order_acquire), core.workers, &Counters::started);
  const std::uint64_t guests = core.guests.load(std::memory_order_acquire);
  stats.submitted = detail::sum(core.accepted.load(std::memory_order_acquire) & ~Core::closed_bit, core.workers,
                                &Counters::submitted) -
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
    if (!detail::is_queued_root(node)) return;
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

}  // namespace cohort
