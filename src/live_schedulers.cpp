#include <cohort/detail/sync.hpp>

#include "live_schedulers.hpp"

#include <algorithm>  // for std::find
#include <mutex>      // for std::lock_guard
#include <vector>     // for std::vector

#if __has_include(<pthread.h>)
#include <pthread.h>  // for pthread_atfork
#endif

namespace cohort::detail {
namespace {

struct LiveSchedulers {
  sync::mutex mutex;
  std::vector<Scheduler*> all;
};

// Never destroyed: executors may be static, and end late. Locked while the process forks, so that the child finds it
// whole, and unlocked.
LiveSchedulers& live() {
  static LiveSchedulers* const immortal = [] {
    auto* const made = new LiveSchedulers;
#if __has_include(<pthread.h>)
    const auto unlock = [] { live().mutex.unlock(); };
    pthread_atfork([] { live().mutex.lock(); }, unlock, unlock);
#endif
    return made;
  }();
  return *immortal;
}

}  // namespace

Scheduler::Scheduler() {
  std::lock_guard lock(live().mutex);
  live().all.push_back(this);
}

Scheduler::~Scheduler() {
  std::lock_guard lock(live().mutex);
  std::erase(live().all, this);
}

Scheduler* pin_if_alive(Scheduler* scheduler) noexcept {
  if (scheduler == nullptr) return nullptr;
  std::lock_guard lock(live().mutex);
  if (std::find(live().all.begin(), live().all.end(), scheduler) == live().all.end()) return nullptr;
  return scheduler->try_add_reference() ? scheduler : nullptr;
}

}  // namespace cohort::detail
