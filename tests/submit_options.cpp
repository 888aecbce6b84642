#include "adaptor_support.hpp"
#include "catch.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cohort/cohort.hpp>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace cohort;
using namespace test;

namespace {

int answer() { return 42; }

/// Notes when each attempt starts and fails, or succeeds at the given one.
struct Attempts {
  int succeed_at = 0;  // never
  Log<Clock::time_point> starts{};

  int operator()() {
    starts.add(Clock::now());
    const int number = static_cast<int>(starts.size());
    if (number == succeed_at) return number;
    throw std::runtime_error("attempt " + std::to_string(number));
  }

  std::vector<Clock::duration> pauses() const {
    const auto times = starts.entries();
    std::vector<Clock::duration> pauses;
    for (std::size_t i = 1; i < times.size(); ++i) pauses.push_back(times[i] - times[i - 1]);
    return pauses;
  }
};

/// Tasks that fail, and pause for up to 20 s before they are tried again: of so many, the first after a moment.
class Pausing {
 public:
  Pausing() {
    const SubmitOptions options{.retries = 1, .retry_delay = 20s, .jitter = 1.0};
    for (Attempts& each : attempts_) futures_.push_back(executor_.submit(options, std::ref(each)));
  }
  Pausing(const Pausing&) = delete;
  Pausing& operator=(const Pausing&) = delete;
  ~Pausing() {
    for (auto& future : futures_) future.cancel();
  }

  std::size_t count() const { return attempts_.size(); }
  /// How many of the pauses are over.
  std::size_t over() const {
    std::size_t over = 0;
    for (const Attempts& each : attempts_) over += each.starts.size() > 1 ? 1 : 0;
    return over;
  }

 private:
  std::deque<Attempts> attempts_ = std::deque<Attempts>(40);
  AsyncExecutor executor_{2};
  std::vector<AsyncFuture<int>> futures_;
};

bool only_out_of_range(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::out_of_range&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

// ---- The structs ---------------------------------------------------------------------------------------------------

TEST_CASE("the submit options have the documented defaults", "[options]") {
  const SubmitOptions options;
  REQUIRE(options.retries == 0);
  REQUIRE(options.retry_delay == 100ms);
  REQUIRE(options.backoff == 2.0);
  REQUIRE(options.max_retry_delay == Duration::max());
  REQUIRE(options.jitter == 0.0);
  REQUIRE(options.retry_if == nullptr);
  REQUIRE(options.semaphore == nullptr);
  REQUIRE_FALSE(options.timeout.has_value());
  REQUIRE(options.name.empty());
}

TEST_CASE("options passed per call are aggregates that need no destructor", "[options]") {
  STATIC_REQUIRE(std::is_aggregate_v<SubmitOptions>);
  STATIC_REQUIRE(std::is_aggregate_v<MapOptions>);
  STATIC_REQUIRE(std::is_aggregate_v<WaitOptions>);
  STATIC_REQUIRE(std::is_aggregate_v<ShutdownOptions>);
  STATIC_REQUIRE(std::is_trivially_destructible_v<SubmitOptions>);
  STATIC_REQUIRE(std::is_trivially_destructible_v<MapOptions>);
  STATIC_REQUIRE(std::is_trivially_destructible_v<WaitOptions>);
  STATIC_REQUIRE(std::is_trivially_destructible_v<ShutdownOptions>);
  STATIC_REQUIRE(std::is_same_v<Duration, std::chrono::steady_clock::duration>);
}

TEMPLATE_TEST_CASE("options may be a temporary of a co_await expression", "[options]", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  auto body = [&]() -> Task<int> {
    const int value = co_await executor.submit(SubmitOptions{.retries = 1, .timeout = 1h, .name = "temporary"}, answer);
    co_return value;
  };
  REQUIRE(sync_wait(body()) == 42);
}

TEST_CASE("a task's name may be gone after the call", "[options]") {
  AsyncExecutor executor(1);
  Occupy occupied(executor);
  auto future = [&] {
    const std::string name = "a name that is kept on the heap for a short while";
    return executor.submit(SubmitOptions{.name = name}, answer);
  }();
  occupied.release();
  REQUIRE(future.get() == 42);
}

// ---- Retries -------------------------------------------------------------------------------------------------------

TEMPLATE_TEST_CASE("a task that fails is tried again as often as it may", "[options][retry]", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(1);
  for (const int retries : {0, 1, 4}) {
    Attempts attempts;
    auto future = executor.submit(SubmitOptions{.retries = retries, .retry_delay = 0ms}, std::ref(attempts));
    const std::string last = "runtime_error: attempt " + std::to_string(retries + 1);
    REQUIRE(thrown_by([&] { return future.get(); }) == last);
    REQUIRE(describe(future.exception()) == last);
    REQUIRE(attempts.starts.size() == static_cast<std::size_t>(retries) + 1);
  }
  REQUIRE(executor.stats().submitted == 3);
  REQUIRE(executor.stats().failed == 3);
}

TEMPLATE_TEST_CASE("a task is not tried again after it has succeeded", "[options][retry]", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(1);
  Attempts attempts{.succeed_at = 3};
  auto future = executor.submit(SubmitOptions{.retries = 10, .retry_delay = 0ms}, std::ref(attempts));
  REQUIRE(future.get() == 3);
  executor.shutdown();
  REQUIRE(attempts.starts.size() == 3);
  REQUIRE(executor.stats().succeeded == 1);
  REQUIRE(executor.stats().failed == 0);
}

TEMPLATE_TEST_CASE("a task that fails is not tried again by default", "[options][retry]", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(1);
  Attempts attempts;
  REQUIRE_THROWS_AS(executor.submit(SubmitOptions{}, std::ref(attempts)).get(), std::runtime_error);
  REQUIRE_THROWS_AS(executor.submit(std::ref(attempts)).get(), std::runtime_error);
  REQUIRE(attempts.starts.size() == 2);
}

TEMPLATE_TEST_CASE("every kind of callable can be tried again", "[options][retry]", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  const SubmitOptions options{.retries = 2, .retry_delay = 1ms};
  std::atomic<int> attempts = 0;
  auto coroutine = [&](int x) -> Task<int> {
    co_await yield();
    if (++attempts < 3) throw std::runtime_error("not yet");
    co_return x;
  };
  REQUIRE(executor.submit(options, coroutine, 1).get() == 1);
  REQUIRE(attempts == 3);
  attempts = 0;
  auto future_function = [&](int x) { return executor.submit(coroutine, x); };
  REQUIRE(executor.submit(options, future_function, 2).get() == 2);
  REQUIRE(attempts == 3);
  attempts = 0;
  auto with_token = [&](std::stop_token token, int x) {
    if (++attempts < 3 || token.stop_requested()) throw std::runtime_error("not yet");
    return x;
  };
  REQUIRE(executor.submit(options, with_token, 3).get() == 3);
  REQUIRE(attempts == 3);
  attempts = 0;
  int object = 0;
  auto reference = [&]() -> int& {
    if (++attempts < 3) throw std::runtime_error("not yet");
    return object;
  };
  REQUIRE(&executor.submit(options, reference).get() == &object);
  attempts = 0;
  auto nothing = [&]() -> Task<> {
    if (++attempts < 3) throw std::runtime_error("not yet");
    co_return;
  };
  REQUIRE_NOTHROW(executor.submit(options, nothing).get());
  REQUIRE(attempts == 3);
}

TEST_CASE("the pauses between attempts grow as documented", "[options][retry]") {
  AsyncExecutor executor(1);
  Attempts attempts;
  const SubmitOptions options{.retries = 3, .retry_delay = 5ms, .backoff = 3.0};
  REQUIRE_THROWS(executor.submit(options, std::ref(attempts)).get());
  const auto pauses = attempts.pauses();
  REQUIRE(pauses.size() == 3);
  REQUIRE(pauses[0] >= 5ms);
  REQUIRE(pauses[1] >= 15ms);
  REQUIRE(pauses[2] >= 45ms);
}

TEST_CASE("the pauses between attempts double by default and begin at a tenth of a second", "[options][retry]") {
  AsyncExecutor executor(1);
  Attempts attempts{.succeed_at = 3};
  REQUIRE(executor.submit(SubmitOptions{.retries = 2}, std::ref(attempts)).get() == 3);
  const auto pauses = attempts.pauses();
  REQUIRE(pauses[0] >= 100ms);
  REQUIRE(pauses[1] >= 200ms);
}

TEST_CASE("the pauses between attempts stay below max_retry_delay", "[options][retry]") {
  AsyncExecutor executor(1);
  Attempts attempts;
  // Without the bound the second pause would last 10 s, the third 10 000 s.
  const SubmitOptions options{.retries = 4, .retry_delay = 10ms, .backoff = 1000.0, .max_retry_delay = 20ms};
  const Stopwatch watch;
  REQUIRE_THROWS(executor.submit(options, std::ref(attempts)).get());
  REQUIRE(watch.elapsed() < 10s);
  const auto pauses = attempts.pauses();
  REQUIRE(pauses.size() == 4);
  REQUIRE(pauses[0] >= 10ms);
  for (std::size_t i = 1; i < 4; ++i) REQUIRE(pauses[i] >= 20ms);
}

TEMPLATE_TEST_CASE("max_retry_delay bounds the first pause too", "[options][retry]", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  Attempts attempts;
  const SubmitOptions options{.retries = 1, .retry_delay = 1h, .max_retry_delay = 1ms};
  REQUIRE(executor.submit(options, std::ref(attempts)).wait_for(1min));
}

TEST_CASE("pauses too long to count are bounded and not lost", "[options][retry][R11]") {
  AsyncExecutor executor(1);
  SECTION("the power overflows after many attempts") {
    const int retries = scaled(2000);
    Attempts attempts;
    const SubmitOptions options{.retries = retries, .retry_delay = 1us, .backoff = 10.0, .max_retry_delay = 50us};
    REQUIRE_THROWS(executor.submit(options, std::ref(attempts)).get());
    const auto pauses = attempts.pauses();
    REQUIRE(pauses.size() == static_cast<std::size_t>(retries));
    const auto shortest = *std::min_element(pauses.begin() + 2, pauses.end());
    REQUIRE(shortest >= 50us);
  }
  SECTION("nothing times infinity is nothing") {
    Attempts attempts;
    const SubmitOptions options{.retries = 20, .retry_delay = 0ms, .backoff = 1e300};
    REQUIRE(executor.submit(options, std::ref(attempts)).wait_for(1min));
    REQUIRE(attempts.starts.size() == 21);
  }
  SECTION("the product overflows") {
    Attempts attempts;
    const SubmitOptions options{.retries = 5, .retry_delay = 1ms, .backoff = 1e300};
    auto future = executor.submit(options, std::ref(attempts));
    REQUIRE(eventually([&] { return attempts.starts.size() == 2; }));
    REQUIRE_FALSE(future.wait_for(20ms));  // the second pause has no end
    REQUIRE(attempts.starts.size() == 2);
    REQUIRE(future.cancel());
    REQUIRE(future.wait_for(1min));
  }
  SECTION("the longest delay there is") {
    Attempts attempts;
    const SubmitOptions options{.retries = 5, .retry_delay = Duration::max()};
    auto future = executor.submit(options, std::ref(attempts));
    REQUIRE(eventually([&] { return attempts.starts.size() == 1; }));
    REQUIRE_FALSE(future.wait_for(20ms));
    REQUIRE(attempts.starts.size() == 1);
    REQUIRE(future.cancel());
    REQUIRE(future.wait_for(1min));
  }
}

TEST_CASE("jitter shortens pauses by a random factor that it bounds", "[options][retry]") {
  AsyncExecutor executor(2);
  Attempts bounded;
  executor.submit(SubmitOptions{.retries = 10, .retry_delay = 40ms, .backoff = 1.0, .jitter = 0.5}, std::ref(bounded))
      .wait();
  const auto pauses = bounded.pauses();
  REQUIRE(*std::min_element(pauses.begin(), pauses.end()) >= 20ms);
  // Without jitter none would be shorter than 20 s; forty draws that all stay above 10 s do not happen.
  const Stopwatch watch;
  const Pausing unbounded;
  REQUIRE(eventually([&] { return unbounded.over() > 0; }));
  REQUIRE(watch.elapsed() < 10s);
}

TEST_CASE("jitter differs from one pause to the next and from one task to the next", "[options][retry]") {
  const Pausing pausing;
  REQUIRE(eventually([&] { return pausing.over() > 0; }));
  std::this_thread::sleep_for(50ms);
  REQUIRE(pausing.over() < pausing.count() / 2);  // with equal factors all would be over in a millisecond or two
}

TEMPLATE_TEST_CASE("retry_if decides which exceptions are worth another attempt", "[options][retry]", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(1);
  std::atomic<int> attempts = 0;
  const SubmitOptions options{.retries = 5, .retry_delay = 0ms, .retry_if = only_out_of_range};
  auto other = [&]() -> int {
    ++attempts;
    throw std::runtime_error("not worth it");
  };
  REQUIRE(thrown_by([&] { return executor.submit(options, other).get(); }) == "runtime_error: not worth it");
  REQUIRE(attempts == 1);
  attempts = 0;
  auto first_one_then_the_other = [&]() -> int {
    if (++attempts < 3) throw std::out_of_range("worth it");
    throw std::runtime_error("not worth it");
  };
  REQUIRE(thrown_by([&] { return executor.submit(options, first_one_then_the_other).get(); }) ==
          "runtime_error: not worth it");
  REQUIRE(attempts == 3);
  attempts = 0;
  const SubmitOptions never{
      .retries = 5, .retry_delay = 0ms, .retry_if = [](const std::exception_ptr&) { return false; }};
  REQUIRE_THROWS(executor.submit(never, other).get());
  REQUIRE(attempts == 1);
}

TEMPLATE_TEST_CASE("a retry_if that throws ends the task and nothing else", "[options][retry]", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(1);
  const SubmitOptions options{
      .retries = 5, .retry_delay = 0ms, .retry_if = [](const std::exception_ptr&) -> bool { throw 42; }};
  auto future = executor.submit(options, []() -> int { throw std::runtime_error("first"); });
  REQUIRE(future.wait_for(1min));
  REQUIRE(future.exception() != nullptr);
  REQUIRE(executor.submit(answer).get() == 42);
}

TEMPLATE_TEST_CASE("exceptions of any type are worth another attempt but CancelledError is not", "[options][retry]",
                   AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  const SubmitOptions options{.retries = 2, .retry_delay = 0ms};
  std::atomic<int> attempts = 0;
  auto number = [&]() -> int {
    ++attempts;
    throw 42;
  };
  REQUIRE(thrown_by([&] { return executor.submit(options, number).get(); }) == "int 42");
  REQUIRE(attempts == 3);
  attempts = 0;
  auto cancelled = [&]() -> int {
    ++attempts;
    throw CancelledError("left");
  };
  auto future = executor.submit(options, cancelled);
  REQUIRE_THROWS_AS(future.get(), CancelledError);
  REQUIRE(future.cancelled());
  REQUIRE(attempts == 1);
}

TEMPLATE_TEST_CASE("each attempt has its own copy of the arguments", "[options][retry]", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(1);
  const SubmitOptions options{.retries = 2, .retry_delay = 1ms};
  Log<std::string> seen;
  auto by_value = [&](std::string text) {
    text += "!";
    seen.add(text);
    if (seen.size() < 3) throw std::runtime_error("not yet");
    return text;
  };
  REQUIRE(executor.submit(options, by_value, std::string("text")).get() == "text!");
  REQUIRE(seen.entries() == std::vector<std::string>(3, "text!"));

  Log<std::string> taken;
  auto by_rvalue = [&](std::string&& text) -> Task<int> {
    taken.add(std::move(text));
    text = "spoilt";
    co_await yield();
    if (taken.size() < 3) throw std::runtime_error("not yet");
    co_return 1;
  };
  REQUIRE(executor.submit(options, by_rvalue, std::string("text")).get() == 1);
  REQUIRE(taken.entries() == std::vector<std::string>(3, "text"));

  int object = 0;
  auto by_reference = [&](int& x) {
    if (++x < 3) throw std::runtime_error("not yet");
  };
  executor.submit(options, by_reference, std::ref(object)).get();
  REQUIRE(object == 3);  // what was passed by reference is not copied
}

TEMPLATE_TEST_CASE("an attempt's copy of the arguments that cannot be made fails the task", "[options][retry]",
                   AsyncExecutor, ManualExecutor) {
  struct Fragile {
    std::shared_ptr<std::atomic<int>> copies_left;
    explicit Fragile(int copies) : copies_left(std::make_shared<std::atomic<int>>(copies)) {}
    Fragile(const Fragile& other) : copies_left(other.copies_left) {
      if (--*copies_left < 0) throw std::runtime_error("no more copies");
    }
    Fragile(Fragile&&) = default;
  };
  TestType executor(1);
  // Whichever copy fails, at the call or at an attempt, it is an exception and never the end of the program.
  for (int copies = 0; copies < 6; ++copies) {
    auto failing = [](const Fragile&) -> int { throw std::runtime_error("attempt"); };
    const std::string end = thrown_by([&] {
      return executor.submit(SubmitOptions{.retries = 3, .retry_delay = 0ms}, failing, Fragile(copies)).get();
    });
    REQUIRE((end == "runtime_error: no more copies" || end == "runtime_error: attempt"));
  }
  REQUIRE(executor.submit(answer).get() == 42);
}

TEST_CASE("a task that pauses holds no worker", "[options][retry]") {
  AsyncExecutor executor(1);
  Attempts attempts;
  auto paused = executor.submit(SubmitOptions{.retries = 1, .retry_delay = 1h}, std::ref(attempts));
  REQUIRE(eventually([&] { return attempts.starts.size() == 1; }));
  REQUIRE(executor.submit(answer).get(1min) == 42);
  REQUIRE_FALSE(paused.done());
  REQUIRE(paused.running());
  REQUIRE(paused.cancel());
  paused.wait();
}

TEST_CASE("a task that pauses can be cancelled", "[options][retry][cancel]") {
  AsyncExecutor executor(1);
  Attempts attempts;
  auto future = executor.submit(SubmitOptions{.retries = 5, .retry_delay = 1h}, std::ref(attempts));
  REQUIRE(eventually([&] { return attempts.starts.size() == 1; }));
  executor.submit(answer).get();  // the attempt is over by now
  REQUIRE(future.cancel());
  REQUIRE(future.wait_for(1min));
  REQUIRE(future.cancelled());
  REQUIRE(attempts.starts.size() == 1);
}

TEST_CASE("a task that was asked to stop is not tried again", "[options][retry][cancel]") {
  AsyncExecutor executor(1);
  std::atomic<int> attempts = 0;
  std::atomic<bool> started = false;
  auto body = [&](std::stop_token token) {
    ++attempts;
    started = true;
    while (!token.stop_requested()) std::this_thread::sleep_for(100us);
    throw std::runtime_error("stopped");
  };
  auto future = executor.submit(SubmitOptions{.retries = 5, .retry_delay = 0ms}, body);
  REQUIRE(eventually([&] { return started.load(); }));
  REQUIRE(future.cancel());
  REQUIRE(future.wait_for(1min));
  REQUIRE(attempts == 1);
}

// ---- Bad options ---------------------------------------------------------------------------------------------------

TEMPLATE_TEST_CASE("options that make no sense are refused at the call and nothing is lost", "[options]", AsyncExecutor,
                   ManualExecutor) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const std::vector<SubmitOptions> bad = {
      {.retries = -1},        {.retries = std::numeric_limits<int>::min()},
      {.retry_delay = -1ns},  {.retry_delay = Duration::min()},
      {.backoff = 0.99},      {.backoff = 0.0},
      {.backoff = -2.0},      {.backoff = nan},
      {.backoff = -infinity}, {.max_retry_delay = -1ns},
      {.jitter = -0.01},      {.jitter = 1.01},
      {.jitter = nan},        {.jitter = infinity},
  };
  TestType executor(1);
  std::atomic<int> runs = 0;
  std::atomic<int> alive = 0;
  for (std::size_t i = 0; i < bad.size(); ++i) {
    INFO("options number " << i);
    auto argument = std::make_unique<Counted>(alive);
    auto function = [&runs](const std::unique_ptr<Counted>&) { ++runs; };
    REQUIRE_THROWS_AS(executor.submit(bad[i], function, std::move(argument)), std::invalid_argument);
    REQUIRE(argument != nullptr);
  }
  REQUIRE(alive == 0);
  REQUIRE(executor.submit(answer).sequence_id() == 0);
  executor.shutdown();
  REQUIRE(runs == 0);
  REQUIRE(executor.stats().submitted == 1);
}

TEMPLATE_TEST_CASE("options at the edge of sense are accepted", "[options]", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  const std::vector<SubmitOptions> good = {
      {.retries = std::numeric_limits<int>::max()},
      {.retry_delay = 0ns},
      {.retry_delay = Duration::max()},
      {.backoff = 1.0},
      {.backoff = std::numeric_limits<double>::max()},
      {.max_retry_delay = 0ns},
      {.jitter = 0.0},
      {.jitter = 1.0},
      {.timeout = Duration::max()},
  };
  for (const SubmitOptions& options : good) REQUIRE(executor.submit(options, answer).get() == 42);
}

// ---- Timeout -------------------------------------------------------------------------------------------------------

TEST_CASE("an attempt that exceeds its timeout is asked to stop and fails with TimeoutError", "[options][timeout]") {
  std::atomic<bool> asked = false;
  std::atomic<bool> finished = false;
  auto sleeper = [&]() -> Task<> {
    try {
      co_await sleep_for(1h);
    } catch (const CancelledError&) {
      asked = true;
      throw;
    }
    finished = true;
  };
  auto function = [&](std::stop_token token) {
    const Stopwatch watch;
    while (!token.stop_requested() && watch.elapsed() < 10s) std::this_thread::sleep_for(100us);
    asked = token.stop_requested();
    return 1;
  };
  SECTION("a coroutine that sleeps") {
    AsyncExecutor executor(1);
    const Stopwatch watch;
    auto future = executor.submit(SubmitOptions{.timeout = 20ms}, sleeper);
    REQUIRE_THROWS_AS(future.get(), TimeoutError);
    REQUIRE(watch.elapsed() >= 20ms);
    REQUIRE_FALSE(future.cancelled());
    REQUIRE(describe(future.exception()) == "timeout");
    executor.shutdown();
    REQUIRE(executor.stats().failed == 1);
  }
  SECTION("a function that looks at its token") {
    AsyncExecutor executor(2);
    auto future = executor.submit(SubmitOptions{.timeout = 20ms}, function);
    REQUIRE_THROWS_AS(future.get(), TimeoutError);
  }
  SECTION("a function that looks at its token on the only worker") {
    AsyncExecutor executor(1);
    auto future = executor.submit(SubmitOptions{.timeout = 20ms}, function);
    REQUIRE_THROWS_AS(future.get(), TimeoutError);
  }
  REQUIRE(asked);
  REQUIRE_FALSE(finished);
}

TEST_CASE("an attempt that ends in time is not disturbed by its timeout", "[options][timeout]") {
  const Stopwatch watch;
  {
    AsyncExecutor executor(1);
    auto body = []() -> Task<bool> {
      co_await sleep_for(1ms);
      const std::stop_token token = co_await get_stop_token();
      co_return token.stop_requested();
    };
    REQUIRE_FALSE(executor.submit(SubmitOptions{.timeout = 1h}, body).get());
    REQUIRE(thrown_by([&] { return executor.submit(SubmitOptions{.timeout = 1h}, []() -> int { throw 42; }).get(); }) ==
            "int 42");
    REQUIRE(executor.submit(SubmitOptions{.timeout = Duration::max()}, body).get() == false);
  }
  REQUIRE(watch.elapsed() < 1min);  // and the timer does not keep the executor waiting
}

TEMPLATE_TEST_CASE("each attempt has its own timeout and its own stop", "[options][timeout][retry]", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(1);
  Log<std::stop_token> tokens;
  auto body = [&]() -> Task<int> {
    const std::stop_token token = co_await get_stop_token();
    tokens.add(token);
    if (tokens.size() < 3) co_await sleep_for(1h);
    co_await sleep_for(1ms);
    co_return 42;
  };
  // The third succeeds, or a later one: on a busy machine it may exceed its timeout, too.
  const SubmitOptions options{.retries = 100, .retry_delay = 1ms, .backoff = 1.0, .timeout = 300ms};
  REQUIRE(executor.submit(options, body).get() == 42);
  const auto seen = tokens.entries();
  REQUIRE(seen.size() >= 3);
  for (std::size_t i = 0; i + 1 < seen.size(); ++i) {
    REQUIRE(seen[i].stop_requested());
    REQUIRE(seen[i] != seen[i + 1]);
  }
  REQUIRE_FALSE(seen.back().stop_requested());
}

TEMPLATE_TEST_CASE("a timeout that ends the last attempt ends the task", "[options][timeout][retry]", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(1);
  std::atomic<int> attempts = 0;
  auto body = [&]() -> Task<> {
    ++attempts;
    co_await sleep_for(1h);
  };
  const SubmitOptions options{.retries = 2, .retry_delay = 1ms, .timeout = 5ms};
  REQUIRE_THROWS_AS(executor.submit(options, body).get(), TimeoutError);
  REQUIRE(attempts == 3);
}

TEST_CASE("the timeout does not count the time in the queue nor the pauses", "[options][timeout][retry]") {
  // The attempts themselves take no time, but for that of a busy machine.
  AsyncExecutor executor(1);
  AsyncExecutor other(1);
  Attempts attempts{.succeed_at = 2};
  AsyncFuture<int> queued;
  AsyncFuture<int> retried =
      other.submit(SubmitOptions{.retries = 1, .retry_delay = 2100ms, .timeout = 2s}, std::ref(attempts));
  {
    Occupy occupied(executor);
    queued = executor.submit(SubmitOptions{.timeout = 2s}, answer);
    std::this_thread::sleep_for(2100ms);
  }
  REQUIRE(queued.get() == 42);
  REQUIRE(retried.get() == 2);
}

TEST_CASE("a stop callback of a timeout may block, and wait for tasks and for what is due with it",
          "[options][timeout]") {
  const std::size_t workers = GENERATE(1U, 2U);
  AsyncExecutor executor(workers);
  std::atomic<bool> over = false;
  // Keeps a worker in its loop, so that the timers are most likely its.
  auto busy = executor.submit([&over]() -> Task<> {
    while (!over) co_await yield();
  });
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> woken = 0;
    const Clock::time_point due = Clock::now() + 5ms;
    auto sleeper = [&](Clock::duration before) -> Task<> {
      co_await sleep_until(due - before);
      ++woken;
    };
    std::vector<AsyncFuture<void>> sleepers;
    for (int i = 0; i < 40; ++i) sleepers.push_back(executor.submit(sleeper, i * 10us));
    int got = 0;
    bool all_woken = false;
    auto body = [&]() -> Task<> {
      const std::stop_callback callback(co_await get_stop_token(), [&] {
        got = executor.submit(answer).get();
        all_woken = workers == 1 || eventually([&] { return woken == 40; });
      });
      co_await sleep_for(1h);
    };
    auto future = executor.submit(SubmitOptions{.timeout = 5ms}, body);
    REQUIRE_THROWS_AS(future.get(), TimeoutError);
    REQUIRE(got == 42);
    REQUIRE(all_woken);
    for (auto& each : sleepers) each.get();
  }
  over = true;
  busy.get();
}

TEST_CASE("a cancelled task with a timeout is cancelled", "[options][timeout][cancel]") {
  AsyncExecutor executor(1);
  std::atomic<bool> started = false;
  auto body = [&]() -> Task<> {
    started = true;
    co_await sleep_for(1h);
  };
  auto future = executor.submit(SubmitOptions{.timeout = 1h}, body);
  REQUIRE(eventually([&] { return started.load(); }));
  REQUIRE(future.cancel());
  REQUIRE_THROWS_AS(future.get(1min), CancelledError);
  REQUIRE(future.cancelled());
}

// ---- Semaphore -----------------------------------------------------------------------------------------------------

TEMPLATE_TEST_CASE("no more attempts run at once than the semaphore has permits", "[options][semaphore]", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(4);
  Semaphore semaphore(2);
  Peak peak;
  std::atomic<int> begun = 0;
  Meeting meeting(2);
  auto body = [&]() -> Task<> {
    peak.enter();
    if (++begun <= 2) co_await meeting.arrive();
    co_await sleep_for(2ms);
    peak.leave();
  };
  std::vector<AsyncFuture<void>> futures;
  for (int i = 0; i < 20; ++i) futures.push_back(executor.submit(SubmitOptions{.semaphore = &semaphore}, body));
  for (auto& future : futures) future.get();
  REQUIRE(peak.highest() == 2);
  executor.shutdown();
  REQUIRE(semaphore.try_acquire());
  REQUIRE(semaphore.try_acquire());
  REQUIRE_FALSE(semaphore.try_acquire());
}

TEST_CASE("a permit is held during attempts and not during pauses", "[options][semaphore][retry]") {
  AsyncExecutor executor(1);
  Semaphore semaphore(1);
  std::atomic<int> attempts = 0;
  std::atomic<int> wrong = 0;
  auto body = [&]() -> int {
    ++attempts;
    if (semaphore.try_acquire()) ++wrong;
    throw std::runtime_error("failed");
  };
  const SubmitOptions options{.retries = 1, .retry_delay = 1h, .semaphore = &semaphore};
  auto future = executor.submit(options, body);
  REQUIRE(eventually([&] { return attempts == 1; }));
  // Its pause: the permit is free for others.
  REQUIRE(eventually([&] { return semaphore.try_acquire(); }));
  semaphore.release();
  REQUIRE_FALSE(future.done());
  REQUIRE(executor.submit(SubmitOptions{.semaphore = &semaphore}, answer).get(1min) == 42);
  REQUIRE(future.cancel());
  future.wait();
  REQUIRE(wrong == 0);
  executor.shutdown();
  REQUIRE(semaphore.try_acquire());
  REQUIRE_FALSE(semaphore.try_acquire());
}

TEST_CASE("a permit comes back however the attempt ends", "[options][semaphore]") {
  AsyncExecutor executor(1);
  Semaphore semaphore(1);
  const SubmitOptions options{.semaphore = &semaphore};
  REQUIRE(executor.submit(options, answer).get(1min) == 42);
  REQUIRE_THROWS(executor.submit(options, []() -> int { throw 42; }).get(1min));
  REQUIRE_THROWS_AS(executor.submit(options, []() -> int { throw CancelledError("left"); }).get(1min), CancelledError);
  auto sleeper = []() -> Task<> { co_await sleep_for(1h); };
  REQUIRE_THROWS_AS(executor.submit(SubmitOptions{.semaphore = &semaphore, .timeout = 5ms}, sleeper).get(1min),
                    TimeoutError);
  auto cancelled = executor.submit(options, sleeper);
  REQUIRE(eventually([&] { return cancelled.running(); }));
  REQUIRE(cancelled.cancel());
  cancelled.wait();
  REQUIRE(executor.submit(options, answer).get(1min) == 42);
  executor.shutdown();
  REQUIRE(semaphore.try_acquire());
  REQUIRE_FALSE(semaphore.try_acquire());
}

TEMPLATE_TEST_CASE("a task that waits for a permit holds no worker", "[options][semaphore]", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(1);
  Semaphore semaphore(0);
  std::atomic<bool> started = false;
  auto waiting = executor.submit(SubmitOptions{.semaphore = &semaphore}, [&] {
    started = true;
    return 1;
  });
  REQUIRE(executor.submit(answer).get(1min) == 42);
  REQUIRE_FALSE(started);
  REQUIRE_FALSE(waiting.done());
  semaphore.release();
  REQUIRE(waiting.get(1min) == 1);
}

TEMPLATE_TEST_CASE("a task that waits for a permit can be cancelled and takes none", "[options][semaphore][cancel]",
                   AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  Semaphore semaphore(0);
  std::atomic<bool> started = false;
  auto waiting = executor.submit(SubmitOptions{.semaphore = &semaphore}, [&] { started = true; });
  executor.submit(answer).get();  // by now the first waits
  REQUIRE(waiting.cancel());
  REQUIRE_THROWS_AS(waiting.get(1min), CancelledError);
  REQUIRE(waiting.cancelled());
  semaphore.release();
  REQUIRE(executor.submit(SubmitOptions{.semaphore = &semaphore}, answer).get(1min) == 42);
  executor.shutdown();
  REQUIRE_FALSE(started);
  REQUIRE(semaphore.try_acquire());
  REQUIRE_FALSE(semaphore.try_acquire());
}
