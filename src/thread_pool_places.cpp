// How threads give their workers away while they block, and get them back: see thread_pool_core.hpp.

#include <cohort/detail/blocking_wait.hpp>
#include <cohort/detail/latch.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/thread_pool.hpp>

#include <algorithm>  // for std::min
#include <atomic>     // for std::memory_order
#include <chrono>     // for std::chrono::milliseconds
#include <mutex>      // for std::lock_guard
#include <utility>    // for std::exchange

#include "thread_pool_core.hpp"

namespace cohort {

using detail::Node;
using detail::PoolWorker;
using detail::Scheduler;
using detail::StateBase;
using detail::thread_context;
using detail::ThreadContext;

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

// Works until `wait` is over or its deadline has passed, or somebody else can.
void ThreadPool::drive(detail::BlockingWait& wait) noexcept {
  while (!wait.over()) {
    PoolWorker& worker = *thread_context().worker;
    if (core_->applicants.load(std::memory_order_relaxed) != 0 && give_place(worker)) {  // relaxed: as in work()
      wait.wait();
      take_place();
      return;
    }
    Node* node = next(worker);
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
    // For one who has come to the end of his wait, and gives it back after his task. relaxed: as in work()
    if (core_->applicants.load(std::memory_order_relaxed) != 0 && give_place(worker)) {
      take_place();
      continue;
    }
    Node* node = next(worker);
    // Nobody wakes us at the end: then look now and then.
    if (node == nullptr) node = search(worker, detail::deadline_after(std::chrono::milliseconds(1)));
    if (node != nullptr) run_node(*node);
  }
}

void ThreadPool::run_to_end(StateBase& task) {
  struct End : detail::Latch {
    explicit End(Scheduler& pool) noexcept : wait(TimePoint::max()) {
      begin(1, nullptr, &pool, nullptr);
      static constexpr Kind an_end{.run = [](Node& node) noexcept { static_cast<End&>(node).wait.signal(); }};
      kind = &an_end;
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
    context.worker_index = before.worker_index;
    if (gave_way) outer->take_place();
  } else {
    run_on(*outer);
  }
  pool->drop_reference();
}

}  // namespace cohort
