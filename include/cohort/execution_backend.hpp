#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/function_call.hpp>
#include <cohort/duration.hpp>
#include <cohort/submit_options.hpp>

#include <any>          // for std::any
#include <concepts>     // for std::same_as
#include <cstddef>      // for std::size_t
#include <cstdint>      // for std::uint8_t
#include <exception>    // for std::exception_ptr
#include <functional>   // for std::function
#include <map>          // for std::map
#include <memory>       // for std::shared_ptr
#include <optional>     // for std::optional
#include <string>       // for std::string
#include <string_view>  // for std::string_view
#include <type_traits>  // for std::is_same_v
#include <utility>      // for std::forward
#include <variant>      // for std::variant
#include <vector>       // for std::vector

namespace cohort {

/// Where a backend's task is in its life: pending, maybe running, then for ever one of the other three.
enum class TaskState : std::uint8_t {
  pending,   ///< Accepted; nothing of it has run.
  running,   ///< Its function, or its program, has been started. It stays so between attempts.
  done,      ///< Ended well: a function that returned, a program with exit code 0.
  failed,    ///< Ended by an exception, an exit code other than 0, a signal or a timeout.
  canceled,  ///< Stopped on request, or before it ran.
};
/// "pending", "running", "done", "failed", "canceled".
[[nodiscard]] std::string_view to_string(TaskState state) noexcept;

/// Where a backend is in its life.
enum class BackendState : std::uint8_t {
  initialized,  ///< It has had no task yet.
  running,      ///< It takes tasks.
  shutdown,     ///< It takes no more.
};
/// "initialized", "running", "shutdown".
[[nodiscard]] std::string_view to_string(BackendState state) noexcept;

/// A function to run as a task: whatever AsyncExecutor::submit would take, bound to its arguments.
///
/// Its result is a `std::any`: empty for void, a copy for a reference, a `std::shared_ptr<R>` for an R that cannot be
/// copied. Copies share callable and arguments; each attempt of each task runs on copies of these. If they can only be
/// moved, it can be run once, and a second run fails with InvalidStateError.
class FunctionTask {
 public:
  /// No function: a backend refuses it.
  FunctionTask() noexcept = default;

  /// *Throws*: what copying or moving callable and arguments throws; `std::bad_alloc`.
  template <class F, class... Args>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionTask> && detail::FunctionCallable<F, Args...>)
      FunctionTask(F&& f, Args&&... args)  // not explicit: a lambda is a function task
      : call_(detail::bind_call(std::forward<F>(f), std::forward<Args>(args)...)) {}

  /// Whether there is a function.
  [[nodiscard]] explicit operator bool() const noexcept { return call_ != nullptr; }
  /// Whether it can be run more than once.
  [[nodiscard]] bool repeatable() const noexcept { return call_ == nullptr || call_->repeatable(); }

  /// A task that runs it: for those who write backends. *Throws*: InvalidStateError; what copying the arguments throws.
  [[nodiscard]] Task<std::any> operator()() const { return call_->call(); }

 private:
  std::shared_ptr<detail::FunctionCall> call_;
};

/// A program to run as a child process.
///
/// Arguments, environment, input and output are bytes; nothing is quoted, split or decoded. The program gets the
/// descriptors 0, 1 and 2 and no other.
struct ExecutableTask {
  /// A path, or a name that is looked for in the `PATH` of this process. With `shell`, a command line for `/bin/sh`.
  std::string program;
  /// What follows the program's name; with `shell`, the command line's positional parameters, `$1` and on.
  std::vector<std::string> arguments = {};
  /// Whether `program` is a command line for `/bin/sh -c`.
  bool shell = false;
  /// Where it runs; empty: where this process is. A relative path in `program` is looked for from there.
  std::string working_directory = {};
  /// Its whole environment; nothing: that of this process, as it is at the start.
  std::optional<std::map<std::string, std::string>> environment = {};
  /// What it reads from its standard input; it reads an empty one by default.
  std::string standard_input = {};
  /// A file that its standard output goes to, emptied first; nothing: it is kept in memory.
  std::optional<std::string> stdout_path = {};
  /// The same for its standard error. The same path as `stdout_path` puts both in one file, in the order written.
  std::optional<std::string> stderr_path = {};
  /// How many bytes of each are kept in memory. The rest is read and dropped, and the result's `truncated` is set.
  std::size_t output_limit = std::size_t{16} << 20;
};

/// What to run, under which name, and how.
struct TaskDescription {
  TaskDescription() = default;
  TaskDescription(std::string name, std::variant<FunctionTask, ExecutableTask> what)
      : uid(std::move(name)), work(std::move(what)) {}

  /// Its name, of which no other unfinished task of the backend may have the same; empty: the backend gives it one,
  /// "task.000001", "task.000002", …
  std::string uid;
  std::variant<FunctionTask, ExecutableTask> work;
  /// As for AsyncExecutor::submit. The timeout of a program begins when it is started, not while it waits for
  /// `max_processes`. `name` is the uid unless given; it must be good until submit_tasks() returns.
  SubmitOptions options;
  /// Whatever the caller wants to find in the result.
  std::map<std::string, std::string> metadata;
};

/// What became of a task.
struct TaskResult {
  std::string uid;
  TaskState state = TaskState::pending;
  /// What the function returned; see FunctionTask.
  std::any return_value;
  /// Why it failed: the function's exception; TaskError for a program's exit code or signal, `std::system_error` for one
  /// that could not be started; TimeoutError. Null otherwise.
  std::exception_ptr exception;
  /// The program's; 128 + term_signal after a signal, 127 when it could not be started.
  int exit_code = 0;
  /// The signal that ended the program, or 0.
  int term_signal = 0;
  /// What the program wrote, unless it went to a file: of the last attempt.
  std::string standard_output;
  std::string standard_error;
  /// Whether there was more than ExecutableTask::output_limit.
  bool truncated = false;
  /// How often it was started.
  int attempts = 0;
  TimePoint submitted_at;
  /// Of the first attempt; of a task that never started, when it ended.
  TimePoint started_at;
  TimePoint finished_at;
  std::map<std::string, std::string> metadata;

  /// The return value of a task that is done, empty for a program.
  /// *Throws*: the exception of one that failed; CancelledError; InvalidStateError of one that has not ended.
  [[nodiscard]] const std::any& value_or_throw() const;
};

/// Told of a task's changes of state.
using TaskCallback = std::function<void(const TaskResult&, TaskState)>;

/// What all backends can do, so that code can be written against any of them. See ConcurrentExecutionBackend for what
/// each member promises.
template <class B>
concept ExecutionBackend = requires(B& backend, const B& constant, std::vector<TaskDescription> tasks,
                                    const std::string& uid, TaskCallback callback) {
  { backend.submit_tasks(std::move(tasks)) } -> std::same_as<std::vector<AsyncFuture<TaskResult>>>;
  { backend.cancel_task(uid) } -> std::same_as<bool>;
  { backend.cancel_all_tasks() } -> std::same_as<std::size_t>;
  backend.register_callback(std::move(callback));
  { constant.task_state(uid) } -> std::same_as<std::optional<TaskState>>;
  { constant.state() } -> std::same_as<BackendState>;
  backend.shutdown();
};

}  // namespace cohort
