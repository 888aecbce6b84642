// What every execution backend does, whether it runs anything or not: uids, states, callbacks, history, shutdown.
#include <cohort/execution_backend.hpp>

#include "catch.hpp"
#include "support.hpp"

#include <cohort/cohort.hpp>

#include <any>        // for any_cast
#include <atomic>     // for atomic
#include <map>        // for map
#include <memory>     // for unique_ptr
#include <stdexcept>  // for runtime_error
#include <string>     // for string
#include <utility>    // for pair
#include <vector>     // for vector

using namespace cohort;
using namespace test;

namespace {

// How the tests make each backend, and what they may expect of it.
struct Concurrent {
  using Backend = ConcurrentExecutionBackend;
  static constexpr bool runs = true;
  static Backend make(std::size_t history_limit = 1024) {
    return Backend(ExecutorOptions{.max_workers = 2}, BackendOptions{.history_limit = history_limit});
  }
  static Task<Backend> create() { return Backend::create(ExecutorOptions{.max_workers = 2}); }
};
struct Noop {
  using Backend = NoopExecutionBackend;
  static constexpr bool runs = false;
  static Backend make(std::size_t history_limit = 1024) { return Backend(history_limit); }
  static Task<Backend> create() { return Backend::create(); }
};

int twice(int x) { return 2 * x; }

TaskDescription function(std::string uid, int x = 1) { return {std::move(uid), FunctionTask(twice, x)}; }
TaskDescription program(std::string uid) {
  ExecutableTask task;
  task.program = "printf";
  task.arguments = {"%s", "hello"};
  return {std::move(uid), task};
}

using Change = std::pair<std::string, TaskState>;

}  // namespace

#define BACKENDS "[backend]", Concurrent, Noop

TEMPLATE_TEST_CASE("a backend has the members of the concept", BACKENDS) {
  STATIC_REQUIRE(ExecutionBackend<typename TestType::Backend>);
  STATIC_REQUIRE(!ExecutionBackend<AsyncExecutor>);
}

TEMPLATE_TEST_CASE("the results of a batch come in its order and carry uid, times and metadata", BACKENDS) {
  auto backend = TestType::make();
  std::vector<TaskDescription> batch{function("a", 1), program("b"), function("c", 3)};
  batch[1].metadata = {{"key", "value"}, {"", "an empty key"}};
  const std::vector<AsyncFuture<TaskResult>> futures = backend.submit_tasks(batch);
  REQUIRE(futures.size() == 3);
  const char* const uids[] = {"a", "b", "c"};
  for (std::size_t i = 0; i < 3; ++i) {
    const TaskResult& result = futures[i].get();
    CHECK(result.uid == uids[i]);
    CHECK(result.state == TaskState::done);
    CHECK(result.exception == nullptr);
    CHECK(result.exit_code == 0);
    CHECK(result.term_signal == 0);
    CHECK(result.attempts == 1);
    CHECK(result.submitted_at <= result.started_at);
    CHECK(result.started_at <= result.finished_at);
    CHECK(result.metadata == batch[i].metadata);
    CHECK(result.return_value.has_value() == (TestType::runs && i != 1));
    CHECK(result.standard_output == (TestType::runs && i == 1 ? "hello" : ""));
    CHECK(&result.value_or_throw() == &result.return_value);
  }
  if (TestType::runs) {
    CHECK(std::any_cast<int>(futures[0].get().return_value) == 2);
    CHECK(std::any_cast<int>(futures[2].get().return_value) == 6);
  }
}

TEMPLATE_TEST_CASE("tasks without a uid are given one that nobody has", BACKENDS) {
  auto backend = TestType::make();
  const auto first = backend.submit_tasks({function(""), function("task.000003"), function(""), function("")});
  REQUIRE(first[0].get().uid == "task.000001");
  REQUIRE(first[1].get().uid == "task.000003");
  REQUIRE(first[2].get().uid == "task.000002");
  REQUIRE(first[3].get().uid == "task.000004");
  REQUIRE(backend.submit_tasks({function("")})[0].get().uid == "task.000005");
}

TEMPLATE_TEST_CASE("a batch with a fault is refused as a whole", BACKENDS) {
  auto backend = TestType::make();
  Log<Change> changes;
  backend.register_callback([&](const TaskResult& result, TaskState state) { changes.add({result.uid, state}); });
  const auto submit = [&](TaskDescription faulty) {
    return thrown_by([&] { return backend.submit_tasks({function("good"), std::move(faulty), function("")}); });
  };
  SECTION("without a function") {
    REQUIRE(submit(TaskDescription()) ==
            "invalid argument: task number 1 of the batch, from 0, is empty: it has neither a function nor a program");
    REQUIRE(submit({"void", FunctionTask()}) ==
            "invalid argument: task \"void\" is empty: it has neither a function nor a program");
  }
  SECTION("without a program") {
    REQUIRE(submit({"void", ExecutableTask()}) ==
            "invalid argument: task \"void\" is empty: it has neither a function nor a program");
  }
  SECTION("with a uid that is twice in it") {
    REQUIRE(submit(function("good")) == "invalid argument: task \"good\" is twice in the batch: a uid must be unique");
  }
  SECTION("with options out of range") {
    TaskDescription task = function("odd");
    task.options.retries = -1;
    REQUIRE(submit(task) == "invalid argument: task \"odd\" has options out of range: retries must be at least 0");
  }
  SECTION("with retries of what can run only once") {
    TaskDescription task("once", FunctionTask([](std::unique_ptr<int> p) { return *p; }, std::make_unique<int>(1)));
    task.options.retries = 1;
    REQUIRE(submit(task) ==
            "invalid argument: task \"once\" cannot be retried: its function or an argument cannot be copied; "
            "retries must be 0");
  }
  REQUIRE(changes.size() == 0);
  REQUIRE(backend.task_state("good") == std::nullopt);
  REQUIRE(backend.state() == BackendState::initialized);
  REQUIRE(backend.submit_tasks({function("good")})[0].get().state == TaskState::done);
}

TEMPLATE_TEST_CASE("each task is reported running and then in exactly one terminal state", BACKENDS) {
  auto backend = TestType::make();
  Log<Change> changes;
  std::atomic<int> contradictions = 0;
  backend.register_callback([&](const TaskResult& result, TaskState state) {
    if (result.state != state) ++contradictions;
    changes.add({result.uid, state});
  });
  std::vector<TaskDescription> batch;
  for (int i = 0; i < 100; ++i) batch.push_back(function("f" + std::to_string(i)));
  for (const auto& future : backend.submit_tasks(batch)) {
    const std::string uid = future.get().uid;
    // The callbacks come before the result.
    std::vector<TaskState> states;
    for (const Change& change : changes.entries()) {
      if (change.first == uid) states.push_back(change.second);
    }
    REQUIRE(states == std::vector{TaskState::running, TaskState::done});
  }
  REQUIRE(changes.size() == 200);
  REQUIRE(contradictions == 0);
}

TEMPLATE_TEST_CASE("callbacks are called in the order registered and do not disturb each other", BACKENDS) {
  Log<std::string> reports;
  auto backend = TestType::make();
  Log<int> calls;
  backend.register_callback([&](const TaskResult&, TaskState) { calls.add(1); });
  backend.register_callback([&](const TaskResult&, TaskState state) {
    calls.add(2);
    if (state == TaskState::done) throw std::runtime_error("a callback failed (as it should in this test)");
  });
  backend.register_callback([&](const TaskResult&, TaskState) { calls.add(3); });
  REQUIRE(backend.submit_tasks({function("a")})[0].get().state == TaskState::done);
  REQUIRE(calls.entries() == std::vector{1, 2, 3, 1, 2, 3});
  REQUIRE(thrown_by([&] {
            backend.register_callback(nullptr);
            return 0;
          }) == "invalid argument: callback must not be empty");
}

TEMPLATE_TEST_CASE("ended tasks are known up to the limit and the oldest are forgotten first", BACKENDS) {
  auto backend = TestType::make(3);
  for (const char* uid : {"a", "b", "c"}) backend.submit_tasks({function(uid)})[0].get();
  REQUIRE(backend.task_state("a") == TaskState::done);
  backend.submit_tasks({function("d")})[0].get();
  REQUIRE(backend.task_state("a") == std::nullopt);
  REQUIRE(backend.task_state("b") == TaskState::done);
  // Used again, it is the newest.
  backend.submit_tasks({function("b")})[0].get();
  backend.submit_tasks({function("e")})[0].get();
  REQUIRE(backend.task_state("b") == TaskState::done);
  REQUIRE(backend.task_state("c") == std::nullopt);

  auto forgetful = TestType::make(0);
  forgetful.submit_tasks({function("a")})[0].get();
  REQUIRE(forgetful.task_state("a") == std::nullopt);
}

TEMPLATE_TEST_CASE("what has ended cannot be cancelled and what is unknown neither", BACKENDS) {
  auto backend = TestType::make();
  const auto futures = backend.submit_tasks({function("a")});
  futures[0].wait();
  REQUIRE_FALSE(backend.cancel_task("a"));
  REQUIRE_FALSE(backend.cancel_task("b"));
  REQUIRE(backend.cancel_all_tasks() == 0);
  REQUIRE(backend.task_state("b") == std::nullopt);
  REQUIRE(futures[0].get().state == TaskState::done);
}

TEMPLATE_TEST_CASE("a backend is initialized, then running, then shut down for good", BACKENDS) {
  auto backend = TestType::make();
  REQUIRE(backend.state() == BackendState::initialized);
  REQUIRE(backend.submit_tasks({}).empty());
  REQUIRE(backend.state() == BackendState::initialized);
  backend.submit_tasks({function("a")})[0].wait();
  REQUIRE(backend.state() == BackendState::running);
  backend.shutdown();
  REQUIRE(backend.state() == BackendState::shutdown);
  backend.shutdown();
  REQUIRE(thrown_by([&] { return backend.submit_tasks({function("b")}); }) == "shutdown");
  REQUIRE(backend.task_state("a") == TaskState::done);
  REQUIRE(backend.task_state("b") == std::nullopt);

  auto unused = TestType::make();
  unused.shutdown();
  REQUIRE(unused.state() == BackendState::shutdown);
}

TEMPLATE_TEST_CASE("a backend may be made by a coroutine and moved", BACKENDS) {
  auto body = []() -> Task<TaskState> {
    auto made = co_await TestType::create();
    auto backend = std::move(made);
    std::vector<AsyncFuture<TaskResult>> futures = backend.submit_tasks({function("a")});
    const TaskResult& result = co_await futures[0];
    CHECK(thrown_by([&] { return made.submit_tasks({}); }) == "invalid state");
    made = std::move(backend);
    CHECK(made.task_state("a") == TaskState::done);
    co_return result.state;
  };
  REQUIRE(sync_wait(body()) == TaskState::done);
}

TEST_CASE("the states have names", "[backend]") {
  REQUIRE(to_string(TaskState::pending) == "pending");
  REQUIRE(to_string(TaskState::running) == "running");
  REQUIRE(to_string(TaskState::done) == "done");
  REQUIRE(to_string(TaskState::failed) == "failed");
  REQUIRE(to_string(TaskState::canceled) == "canceled");
  REQUIRE(to_string(BackendState::initialized) == "initialized");
  REQUIRE(to_string(BackendState::running) == "running");
  REQUIRE(to_string(BackendState::shutdown) == "shutdown");
}

TEST_CASE("a function task is any callable with its arguments and gives any result", "[backend]") {
  const auto value = [](const FunctionTask& task) { return sync_wait(task()); };
  SECTION("a function, a coroutine, a lambda") {
    REQUIRE(std::any_cast<int>(value(FunctionTask(twice, 4))) == 8);
    REQUIRE(std::any_cast<int>(value(FunctionTask([](int x) -> Task<int> { co_return x + 1; }, 4))) == 5);
    REQUIRE(std::any_cast<std::string>(value([text = std::string("kept")] { return text; })) == "kept");
  }
  SECTION("no result") {
    REQUIRE_FALSE(value([] {}).has_value());
  }
  SECTION("a result that is a std::any already") {
    REQUIRE(std::any_cast<int>(value([] { return std::any(3); })) == 3);
  }
  SECTION("a reference") {
    int number = 7;
    REQUIRE(std::any_cast<int>(value([&]() -> int& { return number; })) == 7);
  }
  SECTION("a result that only moves") {
    const std::any result = value([] { return std::make_unique<int>(5); });
    REQUIRE(**std::any_cast<std::shared_ptr<std::unique_ptr<int>>>(result) == 5);
  }
  SECTION("a converted argument") {
    const auto length = [](const std::string& text) -> Task<std::size_t> { co_return text.size(); };
    REQUIRE(std::any_cast<std::size_t>(value(FunctionTask(length, "text"))) == 4);
  }
  SECTION("again, on new copies") {
    const FunctionTask task(
        [](std::vector<int> v) {
          v.push_back(1);
          return v.size();
        },
        std::vector<int>());
    REQUIRE(task.repeatable());
    REQUIRE(std::any_cast<std::size_t>(value(task)) == 1);
    REQUIRE(std::any_cast<std::size_t>(value(task)) == 1);
  }
  SECTION("once, when the arguments only move") {
    const FunctionTask task([](std::unique_ptr<int> p) { return *p; }, std::make_unique<int>(9));
    REQUIRE_FALSE(task.repeatable());
    REQUIRE(std::any_cast<int>(value(task)) == 9);
    REQUIRE(thrown_by([&] { return value(task); }) == "invalid state");
  }
  SECTION("none") {
    REQUIRE_FALSE(FunctionTask());
    REQUIRE(FunctionTask(twice, 1));
  }
}
