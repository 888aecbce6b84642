// How the pool begins and ends: see thread_pool_core.hpp.

#include <cohort/detail/sync.hpp>
#include <cohort/detail/sync_thread.hpp>
#include <cohort/thread_pool.hpp>

#include <algorithm>  // for std::max
#include <atomic>     // for std::memory_order
#include <exception>  // for std::exception_ptr
#include <mutex>      // for std::lock_guard
#include <string>     // for std::to_string
#include <thread>     // for std::thread::hardware_concurrency
#include <utility>    // for std::move

#include "thread_pool_core.hpp"

#if defined(__linux__)
#include <pthread.h>  // for pthread_setname_np
#endif

namespace cohort {

using detail::PoolWorker;
using detail::thread_context;
using detail::ThreadContext;

namespace {

void name_this_thread([[maybe_unused]] const std::string& name, [[maybe_unused]] std::size_t index) {
#if defined(__linux__)
  // The system takes at most 15 characters: the number stays, the name is cut.
  std::string full = std::to_string(index);
  full.insert(full.begin(), '-');
  full.insert(0, name, 0, 15 - std::min<std::size_t>(full.size(), 15));
  pthread_setname_np(pthread_self(), full.c_str());
#endif
}

}  // namespace

std::size_t default_worker_count() noexcept { return std::max<std::size_t>(std::thread::hardware_concurrency(), 1); }

std::size_t ThreadPool::max_workers() const noexcept { return core_->options.max_workers; }

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
    name_this_thread(core.options.name, first.index);
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
      detail::sum(core.left.load(std::memory_order_seq_cst), core.workers, &detail::WorkerCounters::left);
  return left == detail::sum(accepted_now & ~Core::closed_bit, core.workers, &detail::WorkerCounters::submitted);
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

}  // namespace cohort
