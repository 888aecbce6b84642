#include "traced_tasks.hpp"

#include <algorithm>  // for std::min
#include <atomic>     // for std::memory_order
#include <mutex>      // for std::lock_guard
#include <utility>    // for std::move

namespace cohort::detail {

void TracedTasks::Release::operator()(TracedTask* task) const noexcept {
  // The last sees what all others did.
  if (task->references.fetch_sub(1, std::memory_order_seq_cst) == 1) delete task;
}

TracedTasks::Owner TracedTasks::prepare(std::string_view name, TimePoint now) {
  Owner traced(new TracedTask);
  traced->name = name;
  traced->submitted = now;
  return traced;
}

void TracedTasks::add(Owner traced, StateBase& state) noexcept {
  TracedTask& task = *traced.release();
  state.add_owner();  // ours, until the end: a handle would make others copy the result that they could move
  task.state = &state;
  task.all = this;
  task.end.task = &task;
  task.end.notify = &ended;
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(task);
    ++count_;
  }
  if (!state.waiters.add(task.end)) remove(task);  // it has ended meanwhile
}

void TracedTasks::ended(Waiter& waiter) noexcept {
  TracedTask& task = *static_cast<TracedTask::End&>(waiter).task;
  task.all->remove(task);
}

void TracedTasks::remove(TracedTask& task) noexcept {
  StateBase* const state = task.state;
  {
    std::lock_guard lock(mutex_);
    tasks_.remove(task);
    --count_;
  }
  Release()(&task);
  state->drop(StateBase::one_owner);
}

std::vector<TracedTasks::Report> TracedTasks::reports() {
  constexpr std::size_t most = 1000;
  std::unique_lock lock(mutex_);
  const std::size_t count = std::min(count_, most);
  lock.unlock();
  std::vector<Report> reports;
  reports.reserve(count);  // not under the lock
  lock.lock();
  for (TracedTask* each = tasks_.front(); each != nullptr && reports.size() < count; each = each->next) {
    Report& report = reports.emplace_back();
    each->references.fetch_add(1, std::memory_order_relaxed);  // relaxed: it is in the list, which has a reference
    report.task.reset(each);
    report.sequence_id = each->state->sequence_id;
    report.started = each->state->own_scope.started();
    each->state->own_scope.describe(report.scope);
  }
  return reports;
}

bool TracedTasks::any_waits_for_other(const Scheduler& own) noexcept {
  std::lock_guard lock(mutex_);
  for (TracedTask* each = tasks_.front(); each != nullptr; each = each->next) {
    ScopeReport report;
    each->state->own_scope.describe(report);
    for (const WaitsFor& waits : report.waits) {
      if (waits.kind == WaitsFor::Kind::future && waits.home != nullptr && waits.home != &own) return true;
    }
  }
  return false;
}

void TracedTasks::stop_all() noexcept {
  for (;;) {
    StateBase* state = nullptr;
    {
      std::lock_guard lock(mutex_);
      TracedTask* const first = tasks_.front();
      if (first == nullptr || first->asked_to_stop) break;
      // To the end: those in front have not been asked yet.
      tasks_.remove(*first);
      tasks_.push_back(*first);
      first->asked_to_stop = true;
      state = first->state;
      state->add_owner();  // while it is in, it is there
    }
    cancel(*state);
    state->drop(StateBase::one_owner);
  }
  std::lock_guard lock(mutex_);
  for (TracedTask* each = tasks_.front(); each != nullptr; each = each->next) each->asked_to_stop = false;
}

}  // namespace cohort::detail
