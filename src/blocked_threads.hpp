#pragma once

#include <cohort/detail/blocking_wait.hpp>
#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/scope_report.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/detail/thread_context.hpp>

#include <cstddef>  // for std::size_t
#include <mutex>    // for std::lock_guard
#include <vector>   // for std::vector

namespace cohort::detail {

// The threads of a pool that are blocked in a get(), for snapshots. Blocking is rare and slow: a mutex does.
class BlockedThreads {
 public:
  struct Report {
    const Scope* scope = nullptr;  // of the task that blocks; null outside of tasks
    WaitsFor waits;
  };

  // On the stack of the thread, for as long as it is blocked.
  class Entry {
   public:
    Entry(BlockedThreads& all, const BlockingWait& wait) noexcept : all_(all), report_{scope_here(), wait.waits_for()} {
      std::lock_guard lock(all_.mutex_);
      all_.entries_.push_back(*this);
      ++all_.count_;
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    ~Entry() {
      std::lock_guard lock(all_.mutex_);
      all_.entries_.remove(*this);
      --all_.count_;
    }

    // IntrusiveList's.
    Entry* next = nullptr;
    Entry* previous = nullptr;
    bool linked = false;

   private:
    friend class BlockedThreads;
    static const Scope* scope_here() noexcept {
      const BlockedTask* const blocked = thread_context().blocked;
      return blocked != nullptr ? blocked->scope() : nullptr;
    }

    BlockedThreads& all_;
    Report report_;
  };

  // As many as there are, or were a moment ago. Throws std::bad_alloc.
  [[nodiscard]] std::vector<Report> reports() {
    std::unique_lock lock(mutex_);
    const std::size_t count = count_;
    lock.unlock();
    std::vector<Report> reports;
    reports.reserve(count);
    lock.lock();
    for (const Entry* each = entries_.front(); each != nullptr && reports.size() < count; each = each->next)
      reports.push_back(each->report_);
    return reports;
  }

 private:
  sync::mutex mutex_;
  IntrusiveList<Entry> entries_;
  std::size_t count_ = 0;
};

}  // namespace cohort::detail
