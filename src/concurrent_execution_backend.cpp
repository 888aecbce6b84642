#include <cohort/concurrent_execution_backend.hpp>
#include <cohort/detail/attempts.hpp>
#include <cohort/detail/suspension.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/errors.hpp>
#include <cohort/semaphore.hpp>
#include <cohort/stop_token.hpp>

#include <algorithm>     // for std::min
#include <atomic>        // for std::memory_order
#include <limits>        // for std::numeric_limits
#include <stdexcept>     // for std::invalid_argument
#include <stop_token>    // for std::stop_callback
#include <system_error>  // for std::system_error

#include "process.hpp"
#include "task_registry.hpp"

namespace cohort {

using detail::TaskRecord;

// What the backend's tasks share with it, and keep while they run.
class ConcurrentExecutionBackend::Core : public std::enable_shared_from_this<Core> {
 public:
  Core(AsyncExecutor* borrowed, std::unique_ptr<AsyncExecutor> owned, const BackendOptions& options)
      : registry_(&(owned != nullptr ? *owned : *borrowed).pool(), options.history_limit),
        monitor_(options.kill_grace),
        owned_(std::move(owned)),
        executor_(owned_ != nullptr ? *owned_ : *borrowed),
        processes_(permits(options.max_processes.value_or(executor_.max_workers()))) {}

  std::vector<AsyncFuture<TaskResult>> submit(std::vector<TaskDescription>&& tasks);
  void shutdown();

  [[nodiscard]] detail::TaskRegistry& registry() noexcept { return registry_; }

 private:
  // Told by the body's future of its end: nothing needs to be allocated for that then.
  struct Ending : detail::CallbackNode {
    std::shared_ptr<Core> core;
    std::shared_ptr<TaskRecord> record;
    AsyncFuture<void> body;
  };

  static std::ptrdiff_t permits(std::size_t count) {
    return static_cast<std::ptrdiff_t>(
        std::min(count, static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max())));
  }

  [[nodiscard]] AsyncFuture<TaskResult> make_future(const std::shared_ptr<TaskRecord>& record);
  void start(const std::shared_ptr<TaskRecord>& record);
  static void ended(detail::CallbackNode& node) noexcept;

  // An attempt of a task.
  static Task<> call_function(std::shared_ptr<Core> core, std::shared_ptr<TaskRecord> record);
  static Task<> run_program(std::shared_ptr<Core> core, std::shared_ptr<TaskRecord> record);
  static Task<> run_process(Core* core, TaskRecord* record);

  detail::TaskRegistry registry_;
  detail::ProcessMonitor monitor_;
  std::unique_ptr<AsyncExecutor> owned_;
  AsyncExecutor& executor_;
  Semaphore processes_;
};

namespace {

void validate(const BackendOptions& options) {
  if (options.max_processes == std::size_t{0}) detail::throw_invalid_argument("max_processes must be at least 1");
  if (options.kill_grace < Duration::zero()) detail::throw_invalid_argument("kill_grace must be at least 0");
}

// Runs a process, and continues when nothing of it is left. No cancellation point: whoever wants it to end sooner stops
// the process.
class [[nodiscard]] ProcessRun : detail::Process {
 public:
  ProcessRun(detail::ProcessMonitor& monitor, const ExecutableTask& program) noexcept
      : monitor_(&monitor), program_(&program) {}

  class Awaiter {
   public:
    Awaiter(ProcessRun& run, detail::StateBase* task) noexcept : run_(&run), suspension_(task) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    COHORT_SUSPEND_OUT_OF_LINE bool await_suspend(std::coroutine_handle<> handle) noexcept {
      return run_->begin(handle, suspension_);
    }
    detail::ProcessEnd await_resume() {
      if (run_->error_ != nullptr) std::rethrow_exception(std::move(run_->error_));
      return std::move(run_->end);
    }

   private:
    ProcessRun* run_;
    detail::Suspension suspension_;
  };
  [[nodiscard]] Awaiter bind(detail::StateBase* task) noexcept { return Awaiter(*this, task); }

  // At any time, from any thread.
  void stop() noexcept {
    stop_asked.store(true, std::memory_order_seq_cst);  // pairs with begin(): one of the two sees the other's store
    if (started_.load(std::memory_order_seq_cst)) monitor_->stop(*this);
  }

 private:
  // True when the coroutine is suspended.
  bool begin(std::coroutine_handle<> handle, detail::Suspension& suspension) noexcept {
    static constexpr detail::Suspension::Awaited an_end;
    suspension_ = &suspension;
    detail::Suspension::Registration registration(suspension, handle, an_end);
    registration.add_source();
    ended = [](detail::Process& process) noexcept {
      static_cast<ProcessRun&>(process).suspension_->fire(detail::Wake::ready);
    };
    try {
      monitor_->start(*this, *program_);
      // It may have ended already; this is still here, until finish().
      started_.store(true, std::memory_order_seq_cst);
      if (stop_asked.load(std::memory_order_seq_cst)) monitor_->stop(*this);
    } catch (...) {
      error_ = std::current_exception();
      suspension.fire(detail::Wake::ready);
    }
    return registration.finish();
  }

  detail::ProcessMonitor* monitor_;
  const ExecutableTask* program_;
  detail::Suspension* suspension_ = nullptr;
  detail::sync::atomic<bool> started_{false};
  std::exception_ptr error_;
};

// The end of what a program wrote last, for an error's text.
std::string tail(const std::string& text) {
  constexpr std::size_t most = 400;
  const std::size_t end = text.find_last_not_of('\n') + 1;  // npos + 1 is 0
  if (end == 0) return {};
  return end <= most ? ": " + text.substr(0, end) : ": …" + text.substr(end - most, most);
}

[[noreturn]] void throw_task_error(const TaskResult& result) {
  const std::string how = result.term_signal != 0 ? "was ended by signal " + std::to_string(result.term_signal)
                                                  : "ended with exit code " + std::to_string(result.exit_code);
  throw TaskError("task \"" + result.uid + "\" " + how + tail(result.standard_error));
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------
// From a batch to its ends

std::vector<AsyncFuture<TaskResult>> ConcurrentExecutionBackend::Core::submit(std::vector<TaskDescription>&& tasks) {
  const detail::TaskRegistry::Records records = registry_.accept(std::move(tasks));
  std::vector<AsyncFuture<TaskResult>> futures;
  bool any_started = false;
  try {
    futures.reserve(records.size());
    for (const auto& record : records) futures.push_back(make_future(record));
    for (const auto& record : records) {
      try {
        start(record);
        any_started = true;
      } catch (...) {
        if (!any_started) throw;
        // Some of the batch run, and their futures must reach the caller: it is this task that failed.
        record->result.exception = std::current_exception();
        registry_.finished(*record, TaskState::failed);
      }
    }
  } catch (...) {
    registry_.withdraw(records);
    throw;
  }
  return futures;
}

AsyncFuture<TaskResult> ConcurrentExecutionBackend::Core::make_future(const std::shared_ptr<TaskRecord>& record) {
  AsyncFuture<TaskResult> future = record->promise.get_future();
  // Weak: it is the promise's state that keeps the callback.
  future.add_done_callback([weak_core = weak_from_this(), weak_record = std::weak_ptr(record)](const auto& done) {
    if (!done.cancelled()) return;
    const std::shared_ptr<Core> core = weak_core.lock();
    const std::shared_ptr<TaskRecord> cancelled = weak_record.lock();
    if (core != nullptr && cancelled != nullptr) core->registry_.cancel(*cancelled);
  });
  return future;
}

void ConcurrentExecutionBackend::Core::start(const std::shared_ptr<TaskRecord>& record) {
  auto ending = std::make_unique<Ending>();
  ending->run = &ended;
  ending->core = shared_from_this();
  ending->record = record;
  SubmitOptions options = record->options;
  if (std::holds_alternative<FunctionTask>(record->work)) {
    ending->body = executor_.submit(options, &Core::call_function, ending->core, record);
  } else {
    options.timeout.reset();  // begins with the program: see run_program()
    ending->body = executor_.submit(options, &Core::run_program, ending->core, record);
  }
  const AsyncFuture<void> body = ending->body;
  Ending& node = *ending.release();
  if (!detail::FutureAccess::state(body).waiters.add(node)) {
    ended(node);  // it has ended already
  } else {
    registry_.set_body(*record, body);
  }
}

// NOLINTNEXTLINE(bugprone-exception-escape): the body's future is not empty
void ConcurrentExecutionBackend::Core::ended(detail::CallbackNode& node) noexcept {
  const std::unique_ptr<Ending> ending(&static_cast<Ending&>(node));
  detail::StateBase& body = detail::FutureAccess::state(ending->body);
  const detail::Outcome outcome = body.outcome.load(std::memory_order_relaxed);  // relaxed: it is done
  if (outcome == detail::Outcome::cancelled) {
    ending->core->registry_.finished(*ending->record, TaskState::canceled);
  } else if (outcome == detail::Outcome::exception) {
    // Nobody else looks at the body's: moved, so that whoever has the result is the last to let go of it.
    ending->record->result.exception = std::move(body.error);
    ending->core->registry_.finished(*ending->record, TaskState::failed);
  } else {
    ending->core->registry_.finished(*ending->record, TaskState::done);
  }
}

void ConcurrentExecutionBackend::Core::shutdown() {
  registry_.close();
  registry_.cancel_all();
  registry_.wait_until_finished();
  if (owned_ != nullptr) owned_->shutdown();
}

// ---------------------------------------------------------------------------------------------------------------------
// Attempts

Task<> ConcurrentExecutionBackend::Core::call_function(std::shared_ptr<Core> core, std::shared_ptr<TaskRecord> record) {
  core->registry_.started(*record);
  Task<std::any> call = std::get<FunctionTask>(record->work)();
  record->result.return_value = co_await std::move(call);
}

Task<> ConcurrentExecutionBackend::Core::run_program(std::shared_ptr<Core> core, std::shared_ptr<TaskRecord> record) {
  const Permit permit = co_await core->processes_.acquire();
  core->registry_.started(*record);
  Task<> run = run_process(core.get(), record.get());
  const std::optional<Duration> timeout = record->options.timeout;
  if (timeout.has_value()) {
    co_await detail::WithTimeout<void>(std::move(run), *timeout, record->result.uid);
  } else {
    co_await std::move(run);
  }
}

Task<> ConcurrentExecutionBackend::Core::run_process(Core* core, TaskRecord* record) {
  const std::stop_token token = co_await get_stop_token();
  TaskResult& result = record->result;
  ProcessRun run(core->monitor_, std::get<ExecutableTask>(record->work));
  detail::ProcessEnd end;
  try {
    const std::stop_callback stop(token, [&run]() noexcept { run.stop(); });
    end = co_await run;
  } catch (...) {
    result.exit_code = 127;  // it could not be started
    throw;
  }
  result.exit_code = end.exit_code;
  result.term_signal = end.term_signal;
  result.standard_output = std::move(end.standard_output);
  result.standard_error = std::move(end.standard_error);
  result.truncated = end.truncated;
  if (end.stopped) throw CancelledError("the program was stopped");
  if (end.exit_code != 0) throw_task_error(result);
}

// ---------------------------------------------------------------------------------------------------------------------
// The public members

ConcurrentExecutionBackend::ConcurrentExecutionBackend(AsyncExecutor& executor, BackendOptions options) {
  validate(options);
  core_ = std::make_shared<Core>(&executor, nullptr, options);
}

ConcurrentExecutionBackend::ConcurrentExecutionBackend(ExecutorOptions executor, BackendOptions options) {
  validate(options);
  core_ = std::make_shared<Core>(nullptr, std::make_unique<AsyncExecutor>(std::move(executor)), options);
}

Task<ConcurrentExecutionBackend> ConcurrentExecutionBackend::create(AsyncExecutor& executor, BackendOptions options) {
  co_return ConcurrentExecutionBackend(executor, options);
}

Task<ConcurrentExecutionBackend> ConcurrentExecutionBackend::create(ExecutorOptions executor, BackendOptions options) {
  co_return ConcurrentExecutionBackend(std::move(executor), options);
}

ConcurrentExecutionBackend& ConcurrentExecutionBackend::operator=(ConcurrentExecutionBackend&& other) noexcept {
  ConcurrentExecutionBackend old(std::move(*this));  // shut down at the end
  core_ = std::move(other.core_);
  return *this;
}

ConcurrentExecutionBackend::~ConcurrentExecutionBackend() {
  if (core_ != nullptr) core_->shutdown();
}

ConcurrentExecutionBackend::Core& ConcurrentExecutionBackend::core() const {
  if (core_ == nullptr) detail::throw_invalid_state("the backend has been moved from");
  return *core_;
}

std::vector<AsyncFuture<TaskResult>> ConcurrentExecutionBackend::submit_tasks(std::vector<TaskDescription> tasks) {
  return core().submit(std::move(tasks));
}
bool ConcurrentExecutionBackend::cancel_task(const std::string& uid) { return core().registry().cancel(uid); }
std::size_t ConcurrentExecutionBackend::cancel_all_tasks() { return core().registry().cancel_all(); }
void ConcurrentExecutionBackend::shutdown() { core().shutdown(); }
void ConcurrentExecutionBackend::register_callback(const TaskCallback& callback) {
  core().registry().add_callback(callback);
}
std::optional<TaskState> ConcurrentExecutionBackend::task_state(const std::string& uid) const {
  return core().registry().task_state(uid);
}
BackendState ConcurrentExecutionBackend::state() const { return core().registry().state(); }

}  // namespace cohort
