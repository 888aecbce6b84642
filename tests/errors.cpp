#include <cohort/errors.hpp>

#include "catch.hpp"
#include "support.hpp"

#include <chrono>
#include <cohort/cohort.hpp>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace cohort;
using namespace test;

TEST_CASE("every error of cohort is an Error and a runtime_error", "[errors]") {
  STATIC_REQUIRE(std::is_base_of_v<std::runtime_error, Error>);
  STATIC_REQUIRE(std::is_base_of_v<Error, ExecutorShutdownError>);
  STATIC_REQUIRE(std::is_base_of_v<Error, CancelledError>);
  STATIC_REQUIRE(std::is_base_of_v<Error, TimeoutError>);
  STATIC_REQUIRE(std::is_base_of_v<Error, InvalidStateError>);
  STATIC_REQUIRE(std::is_base_of_v<Error, TaskError>);
  // One may be caught without the others.
  STATIC_REQUIRE_FALSE(std::is_base_of_v<CancelledError, TimeoutError>);
  STATIC_REQUIRE_FALSE(std::is_base_of_v<TimeoutError, CancelledError>);
}

TEMPLATE_TEST_CASE("an error keeps the text it was given", "[errors]", Error, ExecutorShutdownError, CancelledError,
                   TimeoutError, InvalidStateError, TaskError) {
  const std::string text = "what happened";
  try {
    throw TestType(text);
  } catch (const std::runtime_error& error) {
    REQUIRE(error.what() == text);
    REQUIRE(dynamic_cast<const TestType*>(&error) != nullptr);
  }
  const TestType original(text);
  const TestType copy = original;
  REQUIRE(copy.what() == text);
}

TEST_CASE("the errors that cohort throws itself say what is wrong", "[errors]") {
  AsyncExecutor executor(1);
  AsyncPromise<int> promise;
  auto future = promise.get_future();
  const auto text_of = [](auto action) -> std::string {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  REQUIRE_FALSE(text_of([&] { static_cast<void>(future.get(0ms)); }).empty());
  promise.set_result(1);
  REQUIRE_FALSE(text_of([&] { promise.set_result(2); }).empty());
  {
    Occupy occupied(executor);
    auto cancelled = executor.submit([] {});
    REQUIRE(cancelled.cancel());
    REQUIRE_FALSE(text_of([&] { cancelled.get(); }).empty());
  }
  executor.shutdown();
  REQUIRE_FALSE(text_of([&] { static_cast<void>(executor.submit([] {})); }).empty());
}

TEST_CASE("whatever a task throws ends in its future and no worker dies of it", "[errors][R1]") {
  struct NotCopiedLightly {
    NotCopiedLightly() = default;
    NotCopiedLightly(const NotCopiedLightly&) = default;
    std::string text = "a text that is kept on the heap somewhere";
  };
  Crew crew;
  AsyncExecutor executor(crew.options(2));
  const int rounds = scaled(200);
  std::vector<AsyncFuture<void>> futures;
  for (int i = 0; i < rounds; ++i) {
    futures.push_back(executor.submit([] { throw std::runtime_error("error"); }));
    futures.push_back(executor.submit([] { throw 42; }));
    futures.push_back(executor.submit([] { throw NotCopiedLightly(); }));
    futures.push_back(executor.submit([] { throw nullptr; }));
    futures.push_back(executor.submit([] { throw std::bad_alloc(); }));
    futures.push_back(executor.submit([] { throw CancelledError("left"); }));
    futures.push_back(executor.submit([] { throw TimeoutError("own"); }));
    futures.push_back(executor.submit([]() -> Task<> {
      co_await yield();
      throw "text";
    }));
    futures.push_back(executor.submit([]() -> Task<> {
      throw std::vector<int>(3);
      co_return;
    }));
    futures.push_back(executor.submit([]() -> AsyncFuture<void> { throw std::runtime_error("no future"); }));
  }
  int without = 0;
  int cancelled = 0;
  for (auto& future : futures) {
    future.wait();
    if (!future.exception()) ++without;
    if (future.cancelled()) ++cancelled;
  }
  REQUIRE(without == 0);
  REQUIRE(cancelled == rounds);  // by CancelledError, and by nothing else
  REQUIRE_THROWS_AS(futures[0].get(), std::runtime_error);
  REQUIRE_THROWS_AS(futures[1].get(), int);
  REQUIRE_THROWS_AS(futures[2].get(), NotCopiedLightly);
  REQUIRE_THROWS_AS(futures[3].get(), std::nullptr_t);
  REQUIRE_THROWS_AS(futures[4].get(), std::bad_alloc);
  REQUIRE_THROWS_AS(futures[5].get(), CancelledError);
  REQUIRE_THROWS_AS(futures[6].get(), TimeoutError);
  REQUIRE_THROWS_AS(futures[7].get(), const char*);
  REQUIRE_THROWS_AS(futures[8].get(), std::vector<int>);
  REQUIRE(thrown_by([&] { futures[9].get(); }) == "runtime_error: no future");

  // Both workers are the ones they were, and both still work.
  std::latch both(2);
  auto meet = [&] {
    both.arrive_and_wait();
    return crew.contains_this_thread();
  };
  auto first = executor.submit(meet);
  auto second = executor.submit(meet);
  REQUIRE(first.get());
  REQUIRE(second.get());
  REQUIRE(crew.size() == 2);
}

TEST_CASE("a function that returns a future without a state fails its task", "[errors]") {
  AsyncExecutor executor(1);
  auto future = executor.submit([] { return AsyncFuture<int>(); });
  REQUIRE(thrown_by([&] { return future.get(1min); }) == "no state");
}
