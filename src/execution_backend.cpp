#include <cohort/errors.hpp>
#include <cohort/execution_backend.hpp>

namespace cohort {

std::string_view to_string(TaskState state) noexcept {
  switch (state) {
    case TaskState::pending:
      return "pending";
    case TaskState::running:
      return "running";
    case TaskState::done:
      return "done";
    case TaskState::failed:
      return "failed";
    case TaskState::canceled:
      return "canceled";
  }
  return "unknown";
}

std::string_view to_string(BackendState state) noexcept {
  switch (state) {
    case BackendState::initialized:
      return "initialized";
    case BackendState::running:
      return "running";
    case BackendState::shutdown:
      return "shutdown";
  }
  return "unknown";
}

const std::any& TaskResult::value_or_throw() const {
  switch (state) {
    case TaskState::done:
      return return_value;
    case TaskState::failed:
      std::rethrow_exception(exception);
    case TaskState::canceled:
      throw CancelledError("the task \"" + uid + "\" was cancelled");
    default:
      throw InvalidStateError("the task \"" + uid + "\" has not ended");
  }
}

}  // namespace cohort
