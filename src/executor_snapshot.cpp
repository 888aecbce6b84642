#include <cohort/detail/state.hpp>
#include <cohort/executor_snapshot.hpp>

#include <algorithm>  // for std::sort
#include <array>      // for std::array
#include <chrono>     // for std::chrono::duration
#include <cstdio>     // for std::snprintf
#include <ostream>    // for std::ostream
#include <string>     // for std::to_string

#include "snapshot_tasks.hpp"

namespace cohort {
namespace detail {

WaitsFor WaitsFor::future_of(const StateBase& awaited) noexcept {
  return {.kind = Kind::future, .sequence_id = awaited.sequence_id, .home = awaited.home};
}

namespace {

// "2.5 s", with a unit that suits it.
std::string in_words(Duration duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  const double size = seconds < 0 ? -seconds : seconds;
  const auto [factor, unit] = size >= 1 || size == 0.0 ? std::pair(1.0, "s")
                              : size >= 1e-3           ? std::pair(1e3, "ms")
                                                       : std::pair(1e6, "us");
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.3g %s", seconds * factor, unit);
  // Three digits are few for what takes long.
  if (size >= 1000) std::snprintf(text.data(), text.size(), "%.0f %s", seconds * factor, unit);
  return text.data();
}

std::string title(std::uint64_t sequence_id, const std::string& name) {
  std::string text = "#";  // appended to: for other ways GCC 12 has a warning
  text += std::to_string(sequence_id);
  if (!name.empty()) text.append(" \"").append(name).append("\"");
  return text;
}

std::string in_words(const WaitsFor& waits, const Scheduler& pool, TimePoint now,
                     const std::vector<TracedTasks::Report>& traced) {
  std::string text;
  switch (waits.kind) {
    case WaitsFor::Kind::something:
      text = "something";
      break;
    case WaitsFor::Kind::time:
      return waits.time == TimePoint::max() ? "ever" : in_words(waits.time - now) + " to pass";
    case WaitsFor::Kind::permit:
      text = "a permit of a semaphore";
      break;
    case WaitsFor::Kind::futures:
      text = "one of several futures";
      break;
    case WaitsFor::Kind::future:
      if (waits.home == nullptr) {
        text = "a promise";
      } else if (waits.home != &pool) {
        text = title(waits.sequence_id, {}) + " of another executor";
      } else {
        const auto same = [&](const auto& each) { return each.sequence_id == waits.sequence_id; };
        const auto found = std::find_if(traced.begin(), traced.end(), same);
        text = title(waits.sequence_id, found != traced.end() ? found->task->name : std::string());
      }
      break;
  }
  return waits.timed ? text + ", with a timeout" : text;
}

}  // namespace

void describe_tasks(ExecutorSnapshot& snapshot, const Scheduler& pool, TimePoint now,
                    const std::vector<TracedTasks::Report>& traced, const std::vector<BlockedThreads::Report>& blocked,
                    const std::vector<WorkerSeen>& workers) {
  const auto words = [&](const WaitsFor& waits) { return in_words(waits, pool, now, traced); };
  snapshot.blocked_threads = blocked.size();

  std::vector<TaskSnapshot> queued = std::move(snapshot.tasks);
  snapshot.tasks.clear();
  for (const TracedTasks::Report& each : traced) {
    TaskSnapshot task{.sequence_id = each.sequence_id, .name = each.task->name, .age = now - each.task->submitted};
    for (std::size_t index = 0; index < std::min(each.scope.wait_count, ScopeReport::most); ++index)
      task.waits_for.push_back(words(each.scope.waits[index]));
    if (each.scope.wait_count > ScopeReport::most) task.waits_for.emplace_back("more");
    if (!each.started) {
      task.activity = TaskActivity::queued;
    } else if (!task.waits_for.empty()) {
      task.activity = TaskActivity::waiting;
    }
    for (std::size_t index = 0; index < workers.size(); ++index) {
      if (!each.started || workers[index].activity != WorkerActivity::running || !each.scope.has(workers[index].scope))
        continue;
      task.activity = TaskActivity::running;
      snapshot.workers[index].task = title(task.sequence_id, task.name);
    }
    for (const BlockedThreads::Report& thread : blocked) {
      if (!each.started || !each.scope.has(thread.scope)) continue;
      task.activity = TaskActivity::blocked;
      task.waits_for.push_back(words(thread.waits));
    }
    snapshot.tasks.push_back(std::move(task));
  }

  // What lies in the queues and is not among them.
  const auto earlier = [](const TaskSnapshot& a, const TaskSnapshot& b) { return a.sequence_id < b.sequence_id; };
  std::sort(snapshot.tasks.begin(), snapshot.tasks.end(), earlier);
  const std::size_t listed = snapshot.tasks.size();
  for (TaskSnapshot& task : queued) {
    const auto end = snapshot.tasks.begin() + static_cast<std::ptrdiff_t>(listed);
    if (!std::binary_search(snapshot.tasks.begin(), end, task, earlier)) snapshot.tasks.push_back(std::move(task));
  }
  std::sort(snapshot.tasks.begin(), snapshot.tasks.end(), earlier);
  const std::uint64_t unfinished = snapshot.stats.pending + snapshot.stats.running;
  const std::uint64_t found = snapshot.tasks.size();
  snapshot.unlisted = static_cast<std::size_t>(unfinished > found ? unfinished - found : 0);
}

}  // namespace detail

std::ostream& operator<<(std::ostream& stream, const ExecutorSnapshot& snapshot) {
  const ExecutorStats& stats = snapshot.stats;
  const auto plural = [](std::uint64_t count, const char* one) {
    return std::to_string(count) + " " + one + (count == 1 ? "" : "s");
  };
  std::string page = "executor \"" + snapshot.name + "\"" + (snapshot.closed ? ", shut down" : "") + ": " +
                     plural(stats.submitted, "task") + " submitted, " + std::to_string(stats.pending) +
                     " not started, " + std::to_string(stats.running) + " started and not ended\n";
  for (std::size_t index = 0; index < snapshot.workers.size(); ++index) {
    const WorkerSnapshot& worker = snapshot.workers[index];
    page += "  worker " + std::to_string(index) + ": ";
    switch (worker.activity) {
      case WorkerActivity::running:
        page += worker.task.empty() ? "running" : "running " + worker.task;
        break;
      case WorkerActivity::searching:
        page += "searching";
        break;
      case WorkerActivity::parked:
        page += "parked";
        break;
    }
    if (worker.queued != 0) page += ", " + std::to_string(worker.queued) + " in its queue";
    page += "\n";
  }
  if (snapshot.blocked_threads != 0)
    page += "  " + plural(snapshot.blocked_threads, "thread") + " blocked in a get()\n";
  page += "  " + std::to_string(snapshot.shared_queue) + " in the shared queue";
  if (snapshot.limited != 0) page += ", " + std::to_string(snapshot.limited) + " kept by max_concurrent_tasks";
  page += ", " + plural(snapshot.timers, "timer") + " set";
  if (snapshot.next_timer.has_value()) page += ", the first due in " + detail::in_words(*snapshot.next_timer);
  page += "\n";
  for (const TaskSnapshot& task : snapshot.tasks) {
    page += "  task " + detail::title(task.sequence_id, task.name) + ": ";
    switch (task.activity) {
      case TaskActivity::queued:
        page += "not started";
        break;
      case TaskActivity::running:
        page += "running";
        break;
      case TaskActivity::blocked:
        page += "blocking a thread";
        break;
      case TaskActivity::waiting:
        page += "suspended";
        break;
      case TaskActivity::unknown:
        page += "started, about to go on or awaiting something unknown";
        break;
    }
    for (std::size_t index = 0; index < task.waits_for.size(); ++index)
      page += (index == 0 ? ", waiting for " : " and ") + task.waits_for[index];
    if (task.age.has_value()) page += "; " + detail::in_words(*task.age) + " old";
    page += "\n";
  }
  if (snapshot.unlisted != 0) {
    page += "  and " + plural(snapshot.unlisted, "task") +
            " without a name (ExecutorOptions::trace_tasks lists all of them)\n";
  }
  return stream << page;
}

}  // namespace cohort
