#pragma once

#include <cohort/execution_backend.hpp>
#include <cohort/task.hpp>

#include <cstddef>   // for std::size_t
#include <memory>    // for std::unique_ptr
#include <optional>  // for std::optional
#include <string>    // for std::string
#include <vector>    // for std::vector

namespace cohort {

namespace detail {
class TaskRegistry;
}

/// A backend for dry runs: nothing runs, and every task is done as soon as it is submitted, with an empty return value,
/// exit code 0 and no output.
///
/// Everything else is as with ConcurrentExecutionBackend: uids and their checks, callbacks (in the caller of
/// submit_tasks()), states, shutdown. An exception of a callback is one line on stderr.
/// *Thread safety*: every member from any thread; moving and destroying as for any object.
class NoopExecutionBackend {
 public:
  /// `history_limit`: how many ended tasks task_state() knows.
  explicit NoopExecutionBackend(std::size_t history_limit = 1024);

  /// The same as the constructor, for code that makes any backend so.
  [[nodiscard]] static Task<NoopExecutionBackend> create(std::size_t history_limit = 1024);

  NoopExecutionBackend(NoopExecutionBackend&&) noexcept;
  NoopExecutionBackend& operator=(NoopExecutionBackend&&) noexcept;
  NoopExecutionBackend(const NoopExecutionBackend&) = delete;
  ~NoopExecutionBackend();

  std::vector<AsyncFuture<TaskResult>> submit_tasks(std::vector<TaskDescription> tasks);
  bool cancel_task(const std::string& uid);
  std::size_t cancel_all_tasks();
  void shutdown();
  void register_callback(const TaskCallback& callback);
  [[nodiscard]] std::optional<TaskState> task_state(const std::string& uid) const;
  [[nodiscard]] BackendState state() const;

 private:
  [[nodiscard]] detail::TaskRegistry& registry() const;

  std::unique_ptr<detail::TaskRegistry> registry_;
};

}  // namespace cohort
