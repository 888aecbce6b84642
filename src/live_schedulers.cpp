#include <cohort/detail/frame_memory.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/executor_snapshot.hpp>

#include "fork_guard.hpp"
#include "live_schedulers.hpp"

#include <algorithm>  // for std::find
#include <exception>  // for std::exception_ptr
#include <memory>     // for std::make_unique
#include <mutex>      // for std::lock_guard
#include <vector>     // for std::vector

namespace cohort::detail {
namespace {

struct LiveSchedulers {
  sync::mutex mutex;
  std::vector<Scheduler*> all;
};

// Never destroyed: executors may be static, and end late. Locked while the process forks, so that the child finds it
// whole, and unlocked. The first call may throw std::bad_alloc, and then the next one tries again.
LiveSchedulers& live() {
  static LiveSchedulers* const immortal = [] {
    auto made = std::make_unique<LiveSchedulers>();
    const auto unlock = [] { live().mutex.unlock(); };
    const AtFork registered([] { live().mutex.lock(); }, unlock, unlock);
    return made.release();
  }();
  return *immortal;
}

}  // namespace

void Scheduler::enlist() {
  pool_begins();
  try {
    std::lock_guard lock(live().mutex);
    live().all.push_back(this);
  } catch (...) {
    pool_ended();
    throw;
  }
}

void Scheduler::delist() noexcept {
  {
    std::lock_guard lock(live().mutex);
    std::erase(live().all, this);
  }
  pool_ended();
}

Scheduler* pin_if_alive(Scheduler* scheduler) noexcept {
  if (scheduler == nullptr) return nullptr;
  std::lock_guard lock(live().mutex);
  if (std::find(live().all.begin(), live().all.end(), scheduler) == live().all.end()) return nullptr;
  return scheduler->try_add_reference() ? scheduler : nullptr;
}

std::vector<ExecutorSnapshot> snapshots_of_all() {
  std::vector<Scheduler*> pinned;
  {
    std::lock_guard lock(live().mutex);
    for (Scheduler* each : live().all) {
      pinned.reserve(pinned.size() + 1);
      if (each->try_add_reference()) pinned.push_back(each);
    }
  }
  std::vector<ExecutorSnapshot> snapshots;
  std::exception_ptr error;
  for (Scheduler* each : pinned) {
    try {
      snapshots.push_back(each->snapshot());
    } catch (...) {
      error = std::current_exception();
    }
    each->drop_reference();
  }
  if (error != nullptr) std::rethrow_exception(error);
  return snapshots;
}

}  // namespace cohort::detail
