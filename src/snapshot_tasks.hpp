#pragma once

#include <cohort/detail/scheduler.hpp>
#include <cohort/executor_snapshot.hpp>

#include <vector>  // for std::vector

#include "blocked_threads.hpp"
#include "traced_tasks.hpp"

namespace cohort::detail {

// What a worker was seen at: the scope of what it runs, if anything.
struct WorkerSeen {
  WorkerActivity activity = WorkerActivity::running;
  const Scope* scope = nullptr;
};

// The part of a snapshot that all pools have in common: from what was gathered of a pool's tasks, its blocked threads and
// its workers, who does what. The snapshot has its stats and one element per worker already, and in `tasks` what else was
// found in queues.
void describe_tasks(ExecutorSnapshot& snapshot, const Scheduler& pool, TimePoint now,
                    const std::vector<TracedTasks::Report>& traced, const std::vector<BlockedThreads::Report>& blocked,
                    const std::vector<WorkerSeen>& workers);

}  // namespace cohort::detail
