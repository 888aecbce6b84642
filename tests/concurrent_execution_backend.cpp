// ConcurrentExecutionBackend: functions and programs by uid, their results, cancellation, limits, shutdown.
#include <cohort/concurrent_execution_backend.hpp>

#include "catch.hpp"
#include "support.hpp"

#include <cohort/cohort.hpp>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <any>         // for any_cast
#include <atomic>      // for atomic
#include <csignal>     // for kill, SIGTERM
#include <cstdlib>     // for mkdtemp
#include <ctime>       // for clock
#include <fstream>     // for ifstream
#include <map>         // for map
#include <memory>      // for make_unique
#include <optional>    // for optional
#include <stdexcept>   // for runtime_error
#include <stop_token>  // for stop_callback
#include <string>      // for string
#include <thread>      // for jthread
#include <vector>      // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

template <class F, class... Args>
TaskDescription function(std::string uid, F&& f, Args&&... args) {
  return {std::move(uid), FunctionTask(std::forward<F>(f), std::forward<Args>(args)...)};
}
TaskDescription program(std::string uid, std::string name, std::vector<std::string> arguments = {}) {
  ExecutableTask task;
  task.program = std::move(name);
  task.arguments = std::move(arguments);
  return {std::move(uid), std::move(task)};
}
TaskDescription shell(std::string uid, std::string command, std::vector<std::string> arguments = {}) {
  TaskDescription task = program(std::move(uid), std::move(command), std::move(arguments));
  std::get<ExecutableTask>(task.work).shell = true;
  return task;
}

TaskResult run(ConcurrentExecutionBackend& backend, TaskDescription task) {
  std::vector<TaskDescription> batch;
  batch.push_back(std::move(task));
  return backend.submit_tasks(std::move(batch))[0].get();
}

// What a result's exception is, and what it says.
std::string why(const TaskResult& result) {
  return thrown_by([&] { return result.value_or_throw(); });
}

Task<> sleep_long() { co_await sleep_for(1h); }

// All changes of all tasks, in the order in which they were told.
class Changes {
 public:
  explicit Changes(ConcurrentExecutionBackend& backend) {
    backend.register_callback([log = log_](const TaskResult& result, TaskState state) {
      log->add({result.uid, state});
    });
  }
  std::vector<TaskState> of(const std::string& uid) const {
    std::vector<TaskState> states;
    for (const auto& [who, state] : log_->entries()) {
      if (who == uid) states.push_back(state);
    }
    return states;
  }
  std::map<std::string, std::vector<TaskState>> all() const {
    std::map<std::string, std::vector<TaskState>> states;
    for (const auto& [who, state] : log_->entries()) states[who].push_back(state);
    return states;
  }

 private:
  std::shared_ptr<Log<std::pair<std::string, TaskState>>> log_ =
      std::make_shared<Log<std::pair<std::string, TaskState>>>();
};

bool is_terminal(TaskState state) { return state != TaskState::pending && state != TaskState::running; }

// A file that is removed at the end.
class File {
 public:
  File() {
    std::string name = "/tmp/cohort-backend-XXXXXX";
    const int descriptor = ::mkstemp(name.data());
    if (descriptor < 0) throw std::runtime_error("no file");
    ::close(descriptor);
    path_ = name;
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }
  std::string content() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::string path_;
};

bool is_alive(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return false;
  const char state = line[line.rfind(')') + 2];
  return state != 'Z' && state != 'X';  // dead, and not yet collected by whoever is to do so, or just being so
}

std::vector<pid_t> numbers(const std::string& text) {
  std::istringstream in(text);
  std::vector<pid_t> result;
  for (pid_t number = 0; in >> number;) result.push_back(number);
  return result;
}

}  // namespace

// ---- Functions -----------------------------------------------------------------------------------------------------

TEST_CASE("a function that throws is a failed result and no exception of the future", "[backend]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  const TaskResult result = run(backend, function("f", []() -> int { throw std::runtime_error("no"); }));
  REQUIRE(result.state == TaskState::failed);
  REQUIRE(result.attempts == 1);
  REQUIRE_FALSE(result.return_value.has_value());
  REQUIRE(why(result) == "runtime_error: no");
  REQUIRE(describe(result.exception) == "runtime_error: no");
  REQUIRE(backend.task_state("f") == TaskState::failed);
}

TEST_CASE("a function is tried again as its options say", "[backend]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  Changes changes(backend);
  std::atomic<int> calls = 0;
  TaskDescription task = function("f", [&] {
    if (++calls < 3) throw std::runtime_error("once more");
    return calls.load();
  });
  task.options = {.retries = 5, .retry_delay = 1ms};
  const TaskResult result = run(backend, task);
  REQUIRE(result.state == TaskState::done);
  REQUIRE(result.attempts == 3);
  REQUIRE(std::any_cast<int>(result.value_or_throw()) == 3);
  REQUIRE(changes.of("f") == std::vector{TaskState::running, TaskState::done});
}

TEST_CASE("a function whose time is over fails with its name", "[backend]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  TaskDescription task = function("slow", sleep_long);
  task.options.timeout = 10ms;
  const TaskResult result = run(backend, task);
  REQUIRE(result.state == TaskState::failed);
  REQUIRE(why(result) == "timeout");
  try {
    static_cast<void>(result.value_or_throw());
  } catch (const TimeoutError& error) {
    REQUIRE_THAT(error.what(), contains("slow"));
  }
}

TEST_CASE("callable and arguments are gone when the result is there", "[backend][R8]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  std::atomic<int> alive = 0;
  std::vector<AsyncFuture<TaskResult>> futures;
  {
    std::vector<TaskDescription> batch;
    for (int i = 0; i < 20; ++i)
      batch.push_back(function(
          "", [](const Counted&) {}, Counted(alive)));
    futures = backend.submit_tasks(std::move(batch));
  }
  for (const auto& future : futures) future.wait();
  REQUIRE(alive == 0);
  for (const auto& future : futures) REQUIRE(future.get().state == TaskState::done);
}

// ---- Programs ------------------------------------------------------------------------------------------------------

TEST_CASE("a program's output and exit code are its result", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  const TaskResult result = run(backend, shell("p", "printf out; printf err >&2"));
  REQUIRE(result.state == TaskState::done);
  REQUIRE(result.standard_output == "out");
  REQUIRE(result.standard_error == "err");
  REQUIRE(result.exit_code == 0);
  REQUIRE(result.term_signal == 0);
  REQUIRE_FALSE(result.return_value.has_value());
  REQUIRE_FALSE(result.value_or_throw().has_value());
  REQUIRE_FALSE(result.truncated);
}

TEST_CASE("an exit code other than zero fails the task", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  const TaskResult result = run(backend, shell("p", "echo partial; echo first >&2; echo last words >&2; exit 3"));
  REQUIRE(result.state == TaskState::failed);
  REQUIRE(result.exit_code == 3);
  REQUIRE(result.standard_output == "partial\n");
  REQUIRE_THROWS_AS(result.value_or_throw(), TaskError);
  REQUIRE(why(result) == "runtime_error: task \"p\" ended with exit code 3: first\nlast words");
}

TEST_CASE("the text of a program's error has the end of what it wrote", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  const TaskResult result =
      run(backend, shell("p", "head -c 10000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1"));
  REQUIRE_THAT(why(result), contains("xxx") && contains("the end"));
  REQUIRE(why(result).size() < 600);
}

TEST_CASE("a signal that ends a program is reported as such", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  const TaskResult result = run(backend, shell("p", "kill -KILL $$"));
  REQUIRE(result.state == TaskState::failed);
  REQUIRE(result.term_signal == SIGKILL);
  REQUIRE(result.exit_code == 128 + SIGKILL);
  REQUIRE(why(result) == "runtime_error: task \"p\" was ended by signal 9");
}

TEST_CASE("a program that cannot be started fails with its errno and 127", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  const auto code_of = [](const TaskResult& result) {
    try {
      static_cast<void>(result.value_or_throw());
    } catch (const std::system_error& error) {
      return error.code();
    }
    return std::error_code();
  };
  const TaskResult absent = run(backend, program("p", "/no/such/program"));
  REQUIRE(absent.state == TaskState::failed);
  REQUIRE(absent.exit_code == 127);
  REQUIRE(absent.attempts == 1);
  REQUIRE(code_of(absent) == std::errc::no_such_file_or_directory);

  const TaskResult folder = run(backend, program("p", "/tmp"));
  REQUIRE(folder.exit_code == 127);
  REQUIRE(code_of(folder) == std::errc::permission_denied);

  const TaskResult impossible = run(backend, program("p", "printf", {std::string("a\0b", 3)}));
  REQUIRE(impossible.state == TaskState::failed);
  REQUIRE(impossible.exit_code == 127);
  REQUIRE(why(impossible) == "invalid argument: arguments[0] must not contain a NUL byte");

  REQUIRE(run(backend, program("p", "true")).state == TaskState::done);
}

TEST_CASE("arguments, input and output are bytes", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  std::string every;
  for (int byte = 1; byte < 256; ++byte) every += static_cast<char>(byte);
  const std::vector<std::string> arguments{"%s|%s|%s|%s|%s", "two words", "\"'`$HOME\\", "", "a\nb\n", every};
  REQUIRE(run(backend, program("arguments", "printf", arguments)).standard_output ==
          "two words|\"'`$HOME\\||a\nb\n|" + every);

  TaskDescription cat = program("input", "cat");
  std::string& input = std::get<ExecutableTask>(cat.work).standard_input;
  while (input.size() < 5'000'000) (input += every) += '\0';
  REQUIRE(run(backend, cat).standard_output == input);
  REQUIRE(run(backend, program("no input", "cat")).standard_output.empty());
}

TEST_CASE("megabytes on both outputs at once are read and capped where asked", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  TaskDescription task = shell("p", "head -c 8000000 /dev/zero & head -c 8000000 /dev/zero >&2; wait");
  SECTION("all of it") {
    const TaskResult result = run(backend, task);
    REQUIRE(result.standard_output == std::string(8'000'000, '\0'));
    REQUIRE(result.standard_error == std::string(8'000'000, '\0'));
    REQUIRE_FALSE(result.truncated);
  }
  SECTION("a part of it") {
    std::get<ExecutableTask>(task.work).output_limit = 1000;
    const TaskResult result = run(backend, task);
    REQUIRE(result.state == TaskState::done);
    REQUIRE(result.standard_output == std::string(1000, '\0'));
    REQUIRE(result.standard_error == std::string(1000, '\0'));
    REQUIRE(result.truncated);
  }
}

TEST_CASE("a program has the directory, environment and files that it is given", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  const File out;
  TaskDescription task = shell("p", "pwd; echo \"$A-$B-$1\"; echo oops >&2", {"first"});
  auto& executable = std::get<ExecutableTask>(task.work);
  executable.working_directory = "/usr";
  executable.environment = std::map<std::string, std::string>{{"A", "a value"}, {"B", ""}};
  executable.stdout_path = out.path();
  executable.stderr_path = out.path();
  const TaskResult result = run(backend, task);
  REQUIRE(result.state == TaskState::done);
  REQUIRE(result.standard_output.empty());
  REQUIRE(out.content() == "/usr\na value--first\noops\n");
}

TEST_CASE("a program is tried again and its result is that of the last attempt", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  Changes changes(backend);
  const File count;
  TaskDescription task =
      shell("p", "echo x >> \"$1\"; lines=$(wc -l < \"$1\"); echo attempt $lines; test $lines -ge 3", {count.path()});
  task.options = {.retries = 5, .retry_delay = 1ms};
  const TaskResult result = run(backend, task);
  REQUIRE(result.state == TaskState::done);
  REQUIRE(result.attempts == 3);
  REQUIRE(result.standard_output == "attempt 3\n");
  REQUIRE(changes.of("p") == std::vector{TaskState::running, TaskState::done});

  TaskDescription hopeless = program("q", "false");
  hopeless.options = {.retries = 2, .retry_delay = 1ms};
  const TaskResult failed = run(backend, hopeless);
  REQUIRE(failed.state == TaskState::failed);
  REQUIRE(failed.attempts == 3);
}

TEST_CASE("a program whose time is over is stopped, and fails with what it had written", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2}, BackendOptions{.kill_grace = 50ms});
  TaskDescription task = shell("p", "trap '' TERM; echo $$; while :; do sleep 1; done");
  task.options.timeout = 5s;  // time for the shell to have come to its loop, whatever else the machine does
  const TaskResult result = run(backend, task);
  REQUIRE(result.state == TaskState::failed);
  REQUIRE(why(result) == "timeout");
  REQUIRE(result.term_signal == SIGKILL);
  const std::vector<pid_t> pids = numbers(result.standard_output);
  REQUIRE(pids.size() == 1);
  REQUIRE_FALSE(is_alive(pids[0]));
}

// ---- Cancellation --------------------------------------------------------------------------------------------------

TEST_CASE("a queued task that is cancelled never runs", "[backend][cancel][R6]") {
  AsyncExecutor executor(1);
  ConcurrentExecutionBackend backend(executor);
  Changes changes(backend);
  std::atomic<bool> ran = false;
  Occupy occupied(executor);
  const auto futures = backend.submit_tasks({function("f", [&] { ran = true; }), program("p", "true")});
  REQUIRE(backend.task_state("f") == TaskState::pending);
  REQUIRE(backend.cancel_task("f"));
  REQUIRE(futures[0].done());
  REQUIRE(futures[0].get().state == TaskState::canceled);
  REQUIRE(futures[0].get().attempts == 0);
  REQUIRE(why(futures[0].get()) == "cancelled");
  REQUIRE(backend.cancel_all_tasks() == 1);
  REQUIRE(futures[1].get().state == TaskState::canceled);
  REQUIRE(backend.task_state("f") == TaskState::canceled);
  REQUIRE_FALSE(backend.cancel_task("f"));
  occupied.release();
  REQUIRE(changes.of("f") == std::vector{TaskState::canceled});
  REQUIRE(changes.of("p") == std::vector{TaskState::canceled});
  REQUIRE_FALSE(ran);
}

TEST_CASE("of tasks that are cancelled together none starts because another has been stopped",
          "[backend][cancel][R6]") {
  const bool by_shutdown = GENERATE(false, true);
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 1});
  Changes changes(backend);
  Gate gate;
  // Whoever stops the first stays until its place has been taken, or nobody is left to take it.
  auto stay = [&] {
    gate.open();
    static_cast<void>(eventually([&] { return backend.task_state("waits") != TaskState::pending; }));
  };
  std::optional<std::stop_callback<decltype(stay)>> stopped;
  auto run = [&](std::stop_token token) {
    stopped.emplace(std::move(token), stay);
    gate.wait();
    throw CancelledError();
  };
  const auto futures =
      backend.submit_tasks({function("runs", run), function("waits", [] {}), function("waits too", [] {})});
  REQUIRE(eventually([&] { return backend.task_state("runs") == TaskState::running; }));
  if (by_shutdown) {
    backend.shutdown();
  } else {
    REQUIRE(backend.cancel_all_tasks() == 3);
  }
  for (const auto& future : futures) REQUIRE(future.get().state == TaskState::canceled);
  REQUIRE(changes.of("waits") == std::vector{TaskState::canceled});
  REQUIRE(changes.of("waits too") == std::vector{TaskState::canceled});
}

TEST_CASE("a running function is canceled only when its body has ended", "[backend][cancel][R6]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  Changes changes(backend);
  Gate gate;
  std::atomic<bool> asked = false;
  const auto futures = backend.submit_tasks({function("f", [&](std::stop_token token) {
    while (!token.stop_requested()) std::this_thread::sleep_for(1ms);
    asked = true;
    gate.wait();
    throw CancelledError();
  })});
  REQUIRE(eventually([&] { return backend.task_state("f") == TaskState::running; }));
  REQUIRE(backend.cancel_task("f"));
  REQUIRE(eventually([&] { return asked.load(); }));
  REQUIRE(backend.task_state("f") == TaskState::running);
  REQUIRE_FALSE(futures[0].done());
  REQUIRE(backend.cancel_task("f"));  // still there, and asked again
  gate.open();
  REQUIRE(futures[0].get().state == TaskState::canceled);
  REQUIRE(changes.of("f") == std::vector{TaskState::running, TaskState::canceled});
}

TEST_CASE("a function that completes although it was asked to stop stays completed", "[backend][cancel][R6]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  Gate gate;
  const auto futures = backend.submit_tasks({function("f", [&] {
    gate.wait();
    return 5;
  })});
  REQUIRE(eventually([&] { return backend.task_state("f") == TaskState::running; }));
  REQUIRE(backend.cancel_task("f"));
  gate.open();
  REQUIRE(futures[0].get().state == TaskState::done);
  REQUIRE(std::any_cast<int>(futures[0].get().value_or_throw()) == 5);
}

TEST_CASE("a task that pauses between attempts is cancelled at once", "[backend][cancel]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  TaskDescription task = function("f", [] { throw std::runtime_error("no"); });
  task.options = {.retries = 1, .retry_delay = 1h};
  const auto futures = backend.submit_tasks({task});
  REQUIRE(eventually([&] { return backend.task_state("f") == TaskState::running; }));
  REQUIRE(backend.cancel_task("f"));
  REQUIRE(futures[0].get().state == TaskState::canceled);
}

TEST_CASE("a program that is cancelled leaves no process behind", "[backend][cancel][program]") {
  struct Program {
    const char* command;
    std::size_t processes;
    int signal;
  };
  const Program what = GENERATE(
      Program{"echo $$ >> \"$1\"; exec sleep 1000", 1, SIGTERM},
      Program{"trap '' TERM; echo $$ >> \"$1\"; while :; do sleep 1000; done", 1, SIGKILL},
      Program{"(trap '' TERM; sleep 1000 & echo $! >> \"$1\"); sleep 1000 & echo $! >> \"$1\"; echo $$ >> \"$1\"; wait",
              3, SIGTERM});
  const std::string how = GENERATE("cancel_task", "cancel_all_tasks", "shutdown", "future");
  CAPTURE(what.command, how);
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2}, BackendOptions{.kill_grace = 100ms});
  const File pids;
  const auto futures = backend.submit_tasks({shell("p", what.command, {pids.path()})});
  REQUIRE(eventually([&] { return numbers(pids.content()).size() == what.processes; }));
  REQUIRE(backend.task_state("p") == TaskState::running);
  if (how == "cancel_task") REQUIRE(backend.cancel_task("p"));
  if (how == "cancel_all_tasks") REQUIRE(backend.cancel_all_tasks() == 1);
  if (how == "shutdown") backend.shutdown();
  if (how == "future") REQUIRE(futures[0].cancel());
  REQUIRE(eventually([&] { return backend.task_state("p") == TaskState::canceled; }));
  for (const pid_t pid : numbers(pids.content())) REQUIRE_FALSE(is_alive(pid));
  if (how == "future") {
    REQUIRE(futures[0].cancelled());
  } else {
    REQUIRE(futures[0].get().state == TaskState::canceled);
    REQUIRE(futures[0].get().term_signal == what.signal);
  }
}

TEST_CASE("a program that ends well just before it is cancelled is done", "[backend][cancel][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  const auto futures = backend.submit_tasks({program("p", "true")});
  futures[0].wait();
  REQUIRE_FALSE(backend.cancel_task("p"));
  REQUIRE(futures[0].get().state == TaskState::done);
}

TEST_CASE("cancelling a result's future stops the task", "[backend][cancel]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  Changes changes(backend);
  const auto futures = backend.submit_tasks({function("f", sleep_long)});
  REQUIRE(eventually([&] { return backend.task_state("f") == TaskState::running; }));
  REQUIRE(futures[0].cancel());
  REQUIRE(futures[0].cancelled());
  REQUIRE(eventually([&] { return changes.of("f") == std::vector{TaskState::running, TaskState::canceled}; }));
}

TEST_CASE("whatever races each task has one end and is told of it once", "[backend][cancel][stress][R1]") {
  for (int round = 0; round < scaled(40); ++round) {
    ExecutorOptions options;
    options.max_workers = 3;
    std::atomic<int> thrown = 0;
    std::atomic<int> reported = 0;
    options.on_unhandled_exception = [&](const std::exception_ptr&) { ++reported; };
    ConcurrentExecutionBackend backend(options, BackendOptions{.kill_grace = 1ms});
    Changes changes(backend);
    backend.register_callback([&](const TaskResult& result, TaskState) {
      if (result.uid != "task.000007") return;
      ++thrown;
      throw 7;
    });
    std::vector<TaskDescription> batch;
    for (int i = 0; i < 30; ++i) {
      batch.push_back(i % 10 == 0 ? program("", "true") : function("", [i]() -> Task<> {
        co_await sleep_for(std::chrono::microseconds(20 * i));
      }));
      if (i % 3 == 0) batch.back().options.timeout = std::chrono::microseconds(300);
    }
    const std::vector<AsyncFuture<TaskResult>> futures = backend.submit_tasks(batch);
    std::jthread one([&] {
      for (int i = 1; i <= 30; i += 2) {
        char uid[32];
        std::snprintf(uid, sizeof uid, "task.%06d", i);
        backend.cancel_task(uid);
      }
    });
    std::jthread two([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(round * 20));
      backend.shutdown();
    });
    for (const auto& future : futures) REQUIRE(is_terminal(future.get().state));
    one.join();
    two.join();
    const auto all = changes.all();
    REQUIRE(all.size() == 30);
    REQUIRE(thrown == reported);
    for (const auto& [uid, states] : all) {
      REQUIRE((states.size() == 1 || (states.size() == 2 && states[0] == TaskState::running)));
      REQUIRE(is_terminal(states.back()));
      REQUIRE(backend.task_state(uid) == states.back());
    }
  }
}

TEST_CASE("what a callback throws is reported also of tasks that the executor refuses", "[backend]") {
  // The first task shuts the executor down, and its callback is told of the later ones by the thread that submits them.
  int refused = 0;
  REQUIRE(eventually([&] {
    std::atomic<int> thrown = 0;
    std::atomic<int> reported = 0;
    ExecutorOptions options;
    options.max_workers = 1;
    options.on_unhandled_exception = [&](const std::exception_ptr&) { ++reported; };
    AsyncExecutor executor(options);
    ConcurrentExecutionBackend backend(executor);
    backend.register_callback([&](const TaskResult&, TaskState) {
      ++thrown;
      throw 7;
    });
    std::vector<TaskDescription> batch;
    for (int i = 0; i < 200; ++i) batch.push_back(function("", [&] { executor.shutdown({.wait = false}); }));
    for (const auto& future : backend.submit_tasks(batch)) refused += future.get().state == TaskState::failed ? 1 : 0;
    backend.shutdown();
    CHECK(thrown == reported);
    return refused != 0;
  }));
}

// ---- Limits --------------------------------------------------------------------------------------------------------

TEST_CASE("no more than max_processes run at a time and those that wait hold no worker", "[backend][program]") {
  AsyncExecutor executor(1);
  ConcurrentExecutionBackend backend(executor, BackendOptions{.max_processes = 2});
  Peak peak;
  backend.register_callback([&](const TaskResult&, TaskState state) {
    if (state == TaskState::running) peak.enter();
  });
  std::vector<TaskDescription> batch;
  const File log;
  for (int i = 0; i < 8; ++i)
    batch.push_back(shell("", "echo + >> \"$1\"; sleep 0.05; echo - >> \"$1\"", {log.path()}));
  const auto futures = backend.submit_tasks(batch);
  // The worker is free for other things.
  REQUIRE(run(backend, function("f", [] { return 1; })).state == TaskState::done);
  for (const auto& future : futures) REQUIRE(future.get().state == TaskState::done);
  int inside = 0;
  int most = 0;
  std::istringstream lines(log.content());
  for (std::string line; std::getline(lines, line);) most = std::max(most, inside += line == "+" ? 1 : -1);
  REQUIRE(most <= 2);
  REQUIRE(most >= 1);
  REQUIRE(inside == 0);
}

TEST_CASE("time spent waiting for max_processes does not count against a program's timeout", "[backend][program]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 1}, BackendOptions{.max_processes = 1});
  std::vector<TaskDescription> batch;
  for (int i = 0; i < 4; ++i) {
    batch.push_back(program("", "sleep", {"0.2"}));
    batch.back().options.timeout = 10s;
  }
  batch.push_back(program("last", "true"));
  batch.back().options.timeout = 5s;
  const auto futures = backend.submit_tasks(batch);
  for (const auto& future : futures) REQUIRE(future.get().state == TaskState::done);
}

TEST_CASE("options out of range are refused", "[backend]") {
  AsyncExecutor executor(1);
  REQUIRE(thrown_by([&] { return ConcurrentExecutionBackend(executor, BackendOptions{.max_processes = 0}); }) ==
          "invalid argument: max_processes must be at least 1");
  REQUIRE(thrown_by([&] { return ConcurrentExecutionBackend(executor, BackendOptions{.kill_grace = -1ns}); }) ==
          "invalid argument: kill_grace must be at least 0");
  REQUIRE(thrown_by([&] { return ConcurrentExecutionBackend(ExecutorOptions{.max_workers = 0}); }) ==
          "invalid argument: max_workers must be at least 1");
}

TEST_CASE("a hundred thousand functions and a thousand programs are nothing special", "[backend][scale]") {
  const int functions = scaled(100'000);
  const int programs = scaled(1'000);
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2}, BackendOptions{.max_processes = 4});
  std::atomic<int> told = 0;
  backend.register_callback([&](const TaskResult&, TaskState state) {
    if (is_terminal(state)) ++told;
  });
  std::vector<TaskDescription> batch;
  for (int i = 0; i < functions; ++i) batch.push_back(function("", [i] { return i; }));
  for (int i = 0; i < programs; ++i) batch.push_back(program("", "true"));
  const auto futures = backend.submit_tasks(std::move(batch));
  std::int64_t sum = 0;
  int failed = 0;
  for (int i = 0; i < functions + programs; ++i) {
    const TaskResult& result = futures[static_cast<std::size_t>(i)].get();
    if (result.state != TaskState::done) ++failed;
    if (i < functions) sum += std::any_cast<int>(result.return_value);
  }
  REQUIRE(failed == 0);
  REQUIRE(sum == std::int64_t{functions} * (functions - 1) / 2);
  REQUIRE(told == functions + programs);
}

TEST_CASE("a backend whose children sleep uses no processor", "[backend][program][R15]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2}, BackendOptions{.max_processes = 10});
  std::vector<TaskDescription> batch;
  const File pids;
  for (int i = 0; i < 10; ++i)
    batch.push_back(shell("p" + std::to_string(i), "echo $$ >> \"$1\"; exec sleep 1000", {pids.path()}));
  const auto futures = backend.submit_tasks(batch);
  // A task counts as running before its program has been started, which is work.
  REQUIRE(eventually([&] { return numbers(pids.content()).size() == 10; }));
  std::this_thread::sleep_for(100ms);
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(500ms);
  REQUIRE(std::clock() - before < CLOCKS_PER_SEC / 10);
}

TEST_CASE("what a backend remembers does not grow with the number of tasks", "[backend][R8]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2}, BackendOptions{.history_limit = 10});
  for (int i = 0; i < 1000; ++i) run(backend, function("f" + std::to_string(i), [] {}));
  int known = 0;
  for (int i = 0; i < 1000; ++i) known += backend.task_state("f" + std::to_string(i)).has_value() ? 1 : 0;
  REQUIRE(known == 10);
}

// ---- A good guest --------------------------------------------------------------------------------------------------

TEST_CASE("the application's own children and signal handlers are left alone", "[backend][program]") {
  struct sigaction before = {};
  ::sigaction(SIGCHLD, nullptr, &before);
  const pid_t own = ::fork();
  if (own == 0) ::_exit(9);
  REQUIRE(own > 0);
  {
    ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
    for (int i = 0; i < 5; ++i) REQUIRE(run(backend, program("", "true")).state == TaskState::done);
  }
  struct sigaction after = {};
  ::sigaction(SIGCHLD, nullptr, &after);
  REQUIRE(after.sa_handler == before.sa_handler);
  int status = 0;
  REQUIRE(::waitpid(own, &status, 0) == own);
  REQUIRE(WEXITSTATUS(status) == 9);
}

TEST_CASE("where descriptors run out a task fails and the next ones work", "[backend][program]") {
  if (address_sanitizer) {
    WARN("not with this sanitizer: its checks of virtual calls need descriptors themselves");
    return;
  }
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2}, BackendOptions{.max_processes = 1});
  REQUIRE(run(backend, program("", "true")).state == TaskState::done);
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  rlimit none = limit;
  none.rlim_cur = 3;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const TaskResult result = run(backend, program("p", "true"));
  ::setrlimit(RLIMIT_NOFILE, &limit);
  REQUIRE(result.state == TaskState::failed);
  REQUIRE(result.exit_code == 127);
  REQUIRE(why(result) == "system_error");
  REQUIRE(run(backend, program("", "true")).state == TaskState::done);
}

// ---- Shutdown ------------------------------------------------------------------------------------------------------

TEST_CASE("shutdown cancels all and waits, and a borrowed executor goes on", "[backend][shutdown]") {
  AsyncExecutor executor(2);
  ConcurrentExecutionBackend backend(executor, BackendOptions{.kill_grace = 50ms});
  Changes changes(backend);
  std::vector<TaskDescription> batch;
  for (int i = 0; i < 10; ++i) {
    batch.push_back(function("f" + std::to_string(i), sleep_long));
    batch.push_back(program("p" + std::to_string(i), "sleep", {"1000"}));
  }
  const auto futures = backend.submit_tasks(batch);
  backend.shutdown();
  for (const auto& future : futures) {
    REQUIRE(future.done());
    REQUIRE(future.get().state == TaskState::canceled);
  }
  REQUIRE(changes.all().size() == 20);
  REQUIRE(executor.submit([] { return 3; }).get() == 3);
}

TEST_CASE("a backend with an executor of its own takes it down", "[backend][shutdown]") {
  const std::ptrdiff_t before = settled_thread_count();
  {
    ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 3});
    REQUIRE(run(backend, program("", "true")).state == TaskState::done);
    REQUIRE(thread_count() > before);
  }
  REQUIRE(eventually([&] { return thread_count() == before; }));
}

TEST_CASE("the destructor of a backend is its shutdown", "[backend][shutdown]") {
  AsyncExecutor executor(2);
  std::vector<AsyncFuture<TaskResult>> futures;
  {
    ConcurrentExecutionBackend backend(executor);
    futures = backend.submit_tasks({function("f", sleep_long), program("p", "sleep", {"1000"})});
  }
  for (const auto& future : futures) REQUIRE(future.get().state == TaskState::canceled);
}

TEST_CASE("of several threads that shut a backend down each one waits", "[backend][shutdown]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  Gate gate;
  const auto futures = backend.submit_tasks({function("f", [&] { gate.wait(); })});
  REQUIRE(eventually([&] { return backend.task_state("f") == TaskState::running; }));
  std::atomic<int> early = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      backend.shutdown();
      if (!futures[0].done()) ++early;
    });
  }
  REQUIRE(eventually([&] { return backend.state() == BackendState::shutdown; }));
  gate.open();
  threads.clear();
  REQUIRE(early == 0);
}

TEST_CASE("a task and a callback may shut their backend down", "[backend][shutdown][R16]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 2});
  SECTION("a function") {
    REQUIRE(run(backend, function("f", [&] { backend.shutdown(); })).state == TaskState::done);
  }
  SECTION("a coroutine that has been suspended") {
    TaskDescription task = function("f", [&]() -> Task<> {
      co_await cohort::yield();
      backend.shutdown();
    });
    SECTION("without a timeout") {}
    SECTION("with a timeout") { task.options.timeout = 1h; }
    REQUIRE(run(backend, task).state == TaskState::done);
  }
  SECTION("a callback on running") {
    backend.register_callback([&](const TaskResult&, TaskState state) {
      if (state == TaskState::running) backend.shutdown();
    });
    REQUIRE(is_terminal(run(backend, function("f", [] {})).state));
  }
  SECTION("a callback on the end") {
    backend.register_callback([&](const TaskResult&, TaskState state) {
      if (is_terminal(state)) backend.shutdown();
    });
    REQUIRE(run(backend, program("p", "true")).state == TaskState::done);
  }
  REQUIRE(backend.state() == BackendState::shutdown);
  backend.shutdown();
}

TEST_CASE("a task may destroy its own backend", "[backend][shutdown]") {
  auto backend = std::make_unique<ConcurrentExecutionBackend>(ExecutorOptions{.max_workers = 2});
  std::atomic<bool> destroyed = false;
  const auto futures = backend->submit_tasks({function("f", [&] {
    backend.reset();
    destroyed = true;
  })});
  REQUIRE(is_terminal(futures[0].get().state));
  REQUIRE(destroyed);
}

TEST_CASE("a worker of the same executor may shut the backend down", "[backend][shutdown]") {
  AsyncExecutor executor(1);
  ConcurrentExecutionBackend backend(executor);
  const auto futures = backend.submit_tasks({function("f", sleep_long)});
  REQUIRE(eventually([&] { return backend.task_state("f") == TaskState::running; }));
  executor.submit([&] { backend.shutdown(); }).get();
  REQUIRE(futures[0].get().state == TaskState::canceled);
}

TEST_CASE("a batch for an executor that was shut down is refused and forgotten", "[backend][shutdown]") {
  AsyncExecutor executor(1);
  ConcurrentExecutionBackend backend(executor);
  executor.shutdown();
  REQUIRE(thrown_by([&] { return backend.submit_tasks({function("f", [] {}), program("p", "true")}); }) == "shutdown");
  REQUIRE(backend.task_state("f") == std::nullopt);
  REQUIRE(backend.cancel_all_tasks() == 0);
}

TEST_CASE("a function may submit tasks to its backend and await them", "[backend]") {
  ConcurrentExecutionBackend backend(ExecutorOptions{.max_workers = 1});
  const TaskResult result = run(backend, function("outer", [&]() -> Task<int> {
                                  std::vector<TaskDescription> batch;
                                  batch.push_back(function("inner", [] { return 20; }));
                                  batch.push_back(program("printf", "printf", {"22"}));
                                  std::vector<AsyncFuture<TaskResult>> inner = backend.submit_tasks(std::move(batch));
                                  const TaskResult& one = co_await inner[0];
                                  const TaskResult& two = co_await inner[1];
                                  co_return std::any_cast<int>(one.return_value) + std::stoi(two.standard_output);
                                }));
  REQUIRE(std::any_cast<int>(result.value_or_throw()) == 42);
}
