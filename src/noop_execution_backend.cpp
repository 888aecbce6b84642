#include <cohort/errors.hpp>
#include <cohort/noop_execution_backend.hpp>

#include "task_registry.hpp"

namespace cohort {

NoopExecutionBackend::NoopExecutionBackend(std::size_t history_limit)
    : registry_(std::make_unique<detail::TaskRegistry>(nullptr, history_limit)) {}

Task<NoopExecutionBackend> NoopExecutionBackend::create(std::size_t history_limit) {
  co_return NoopExecutionBackend(history_limit);
}

NoopExecutionBackend::NoopExecutionBackend(NoopExecutionBackend&&) noexcept = default;
NoopExecutionBackend& NoopExecutionBackend::operator=(NoopExecutionBackend&&) noexcept = default;
NoopExecutionBackend::~NoopExecutionBackend() = default;

detail::TaskRegistry& NoopExecutionBackend::registry() const {
  if (registry_ == nullptr) detail::throw_invalid_state("the backend has been moved from");
  return *registry_;
}

std::vector<AsyncFuture<TaskResult>> NoopExecutionBackend::submit_tasks(std::vector<TaskDescription> tasks) {
  const detail::TaskRegistry::Records records = registry().accept(std::move(tasks));
  std::vector<AsyncFuture<TaskResult>> futures;
  try {
    futures.reserve(records.size());
    for (const auto& record : records) futures.push_back(record->promise.get_future());
  } catch (...) {
    registry().withdraw(records);
    throw;
  }
  for (const auto& record : records) {
    registry().started(*record);
    registry().finished(*record, TaskState::done);
  }
  return futures;
}

bool NoopExecutionBackend::cancel_task(const std::string& uid) { return registry().cancel(uid); }
std::size_t NoopExecutionBackend::cancel_all_tasks() { return registry().cancel_all(); }
void NoopExecutionBackend::shutdown() {
  registry().close();
  registry().wait_until_finished();
}
void NoopExecutionBackend::register_callback(const TaskCallback& callback) { registry().add_callback(callback); }
std::optional<TaskState> NoopExecutionBackend::task_state(const std::string& uid) const {
  return registry().task_state(uid);
}
BackendState NoopExecutionBackend::state() const { return registry().state(); }

}  // namespace cohort
