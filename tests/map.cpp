// executor.map and ResultStream: order, laziness, bounds, errors at their place, timeouts, destruction.
#include <cohort/map.hpp>

#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <algorithm>    // for max
#include <array>        // for array
#include <atomic>       // for atomic
#include <chrono>       // for milliseconds
#include <exception>    // for exception_ptr
#include <list>         // for list
#include <memory>       // for unique_ptr, make_unique, shared_ptr
#include <optional>     // for optional
#include <ranges>       // for iota
#include <sstream>      // for istringstream
#include <stdexcept>    // for runtime_error, invalid_argument
#include <stop_token>   // for stop_token
#include <string>       // for string
#include <thread>       // for this_thread
#include <type_traits>  // for decay_t, invoke_result_t
#include <utility>      // for move
#include <vector>       // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

Task<int> twice(int x) {
  co_await sleep_for(1ms);
  co_return 2 * x;
}

/// Even numbers fail.
Task<int> odd_only(int x) {
  co_await cohort::yield();
  if (x % 2 == 0) throw std::runtime_error("even " + std::to_string(x));
  co_return x;
}

std::vector<int> count_up(int count) {
  std::vector<int> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(i);
  return numbers;
}

/// Takes everything from a stream, a failed element as its text.
template <class T>
std::vector<std::string> outcomes(ResultStream<T>& stream) {
  std::vector<std::string> seen;
  while (true) {
    try {
      std::optional<T> value = sync_wait(stream.next());
      if (!value) return seen;
      seen.push_back(std::to_string(*value));
    } catch (const std::exception& error) {
      seen.emplace_back(error.what());
    }
  }
}

/// A range that can be neither copied nor moved: only a reference to it can be kept.
struct Pinned {
  explicit Pinned(int count) : numbers(count_up(count)) {}
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  [[nodiscard]] auto begin() const { return numbers.begin(); }
  [[nodiscard]] auto end() const { return numbers.end(); }
  std::vector<int> numbers;
};

/// A range that cannot be copied, and tells by its token whether it still lives.
struct MoveOnly {
  explicit MoveOnly(int count) : numbers(count_up(count)) {}
  MoveOnly(MoveOnly&&) = default;
  MoveOnly& operator=(MoveOnly&&) = default;
  MoveOnly(const MoveOnly&) = delete;
  MoveOnly& operator=(const MoveOnly&) = delete;
  ~MoveOnly() = default;
  auto begin() { return numbers.begin(); }
  auto end() { return numbers.end(); }
  std::vector<int> numbers;
  std::shared_ptr<int> token = std::make_shared<int>(0);
};

/// The numbers below `end`, made into something else by a function each time an element is read.
template <class Make>
class Made {
 public:
  Made(Make make, int end) : make_(make), end_(end) {}

  class Iterator {
   public:
    using value_type = std::decay_t<std::invoke_result_t<const Make&, int>>;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    Iterator(const Make* make, int at, int end) : make_(make), at_(at), end_(end) {}
    decltype(auto) operator*() const { return (*make_)(at_); }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    void operator++(int) { ++at_; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) { return it.at_ == it.end_; }

   private:
    const Make* make_;
    int at_;
    int end_;
  };

  Iterator begin() { return Iterator(&make_, 0, end_); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

 private:
  Make make_;
  int end_;
};

}  // namespace

TEST_CASE("map yields results in input order whatever order they finish in") {
  constexpr int count = 8;
  AsyncExecutor executor(2);
  std::vector<AsyncGate> gates(count);
  Log<int> finished;
  auto work = [&](int i) -> Task<int> {
    co_await gates[static_cast<std::size_t>(i)].passed();
    finished.add(i);
    co_return i * 10;
  };
  ResultStream<int> stream = executor.map(MapOptions{.buffer_size = count}, work, count_up(count));
  for (int i = count - 1; i >= 0; --i) {
    gates[static_cast<std::size_t>(i)].open();
    REQUIRE(eventually([&] { return finished.size() == static_cast<std::size_t>(count - i); }));
  }
  REQUIRE(finished.entries() == std::vector{7, 6, 5, 4, 3, 2, 1, 0});
  for (int i = 0; i < count; ++i) {
    std::optional<int> value = sync_wait(stream.next());
    REQUIRE(value == i * 10);
  }
  std::optional<int> end = sync_wait(stream.next());
  REQUIRE_FALSE(end.has_value());
}

TEMPLATE_TEST_CASE("map zips its ranges up to the shortest", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  auto add = [](int a, int b) { return 10 * a + b; };
  SECTION("the first is shorter") {
    std::vector<int> sums = sync_wait(executor.map(add, std::vector{1, 2, 3}, std::vector{4, 5, 6, 7, 8}));
    REQUIRE(sums == std::vector{14, 25, 36});
  }
  SECTION("the second is shorter") {
    std::vector<int> sums = sync_wait(executor.map(add, std::list{1, 2, 3, 4}, std::array{4, 5}));
    REQUIRE(sums == std::vector{14, 25});
  }
  SECTION("one never ends") {
    std::vector<int> sums = sync_wait(executor.map(add, Numbers(), std::vector{7, 8, 9}));
    REQUIRE(sums == std::vector{7, 18, 29});
  }
  SECTION("one is empty") {
    std::vector<int> sums = sync_wait(executor.map(add, Numbers(), std::vector<int>{}));
    REQUIRE(sums.empty());
  }
  SECTION("three ranges of different types") {
    auto join = [](int a, const std::string& b, char c) { return std::to_string(a) + b + c; };
    std::vector<std::string> words =
        sync_wait(executor.map(join, std::vector{1, 2}, std::vector<std::string>{"x", "y", "z"}, std::string("abcd")));
    REQUIRE(words == std::vector<std::string>{"1xa", "2yb"});
  }
}

TEMPLATE_TEST_CASE("map applies its function concurrently, suspended elements holding no worker", "", AsyncExecutor,
                   ManualExecutor) {
  constexpr int count = 16;
  TestType executor(1);
  Meeting meeting(count);
  auto meet = [&](int i) -> Task<int> {
    co_await meeting.arrive();
    co_return i;
  };
  ResultStream<int> stream = executor.map(MapOptions{.buffer_size = count}, meet, count_up(count));
  std::vector<int> values = sync_wait(std::move(stream));
  REQUIRE(values == count_up(count));
}

TEST_CASE("map starts at the call, and not on the calling thread") {
  AsyncExecutor executor(2);
  Log<std::thread::id> threads;
  auto note = [&](int) { threads.add(std::this_thread::get_id()); };
  auto stream = executor.map(MapOptions{.buffer_size = 3}, note, Numbers());
  REQUIRE(eventually([&] { return threads.size() == 3; }));  // nobody has asked for a result
  for (const std::thread::id id : threads.entries()) REQUIRE(id != std::this_thread::get_id());
}

TEMPLATE_TEST_CASE(
    "map takes what submit takes: coroutine functions, plain functions and functions that want a stop token", "",
    AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  auto token_first = [](std::stop_token token, int x) {
    return token.stop_possible() && !token.stop_requested() ? x + 1 : -1;
  };
  auto token_task = [](std::stop_token token, int x) -> Task<int> {
    co_await cohort::yield();
    co_return token.stop_requested() ? -1 : x + 2;
  };
  REQUIRE(sync_wait(executor.map(twice, std::vector{1, 2})) == std::vector{2, 4});
  REQUIRE(sync_wait(executor.map(identity, std::vector{1, 2})) == std::vector{1, 2});
  REQUIRE(sync_wait(executor.map(token_first, std::vector{1, 2})) == std::vector{2, 3});
  REQUIRE(sync_wait(executor.map(token_task, std::vector{1, 2})) == std::vector{3, 4});
}

TEMPLATE_TEST_CASE("map accepts a function that returns a future", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  auto submit = [&](int x) { return executor.submit(twice, x); };
  ResultStream<int> stream = executor.map(submit, std::vector{1, 2, 3});
  REQUIRE(sync_wait(std::move(stream)) == std::vector{2, 4, 6});
}

TEMPLATE_TEST_CASE("map of an empty range ends at once and ever after", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  ResultStream<int> stream = executor.map(identity, std::vector<int>{});
  for (int i = 0; i < 3; ++i) {
    std::optional<int> value = sync_wait(stream.next());
    REQUIRE_FALSE(value.has_value());
  }
  for (int value : executor.map(identity, std::vector<int>{})) REQUIRE(value == -1);
}

TEMPLATE_TEST_CASE("next is empty at the end of a map and ever after", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  ResultStream<int> stream = executor.map(twice, std::vector{5});
  std::optional<int> value = sync_wait(stream.next());
  REQUIRE(value == 10);
  for (int i = 0; i < 5; ++i) {
    std::optional<int> end = sync_wait(stream.next());
    REQUIRE_FALSE(end.has_value());
  }
}

TEST_CASE("the next of a map can be made a task, and a stranger's coroutine can await it") {
  AsyncExecutor executor(1);
  ResultStream<int> stream = executor.map(twice, std::vector{1, 2, 3});
  Task<std::optional<int>> first = stream.next();
  REQUIRE(executor.submit(std::move(first)).get() == 2);
  const auto with_a_timer = executor.submit(
      [](ResultStream<int>* results) -> Task<std::size_t> {
        co_return (co_await when_any(results->next(), sleep_for(1h))).index;
      },
      &stream);
  REQUIRE(with_a_timer.get() == 0);

  std::atomic<int> seen{0};
  const auto await_all = [](ResultStream<int>& results, std::atomic<int>& sum, Gate& done) -> Detached {
    while (std::optional<int> value = co_await results.next()) sum += *value;
    done.open();
  };
  Gate done;
  await_all(stream, seen, done);
  done.wait();
  REQUIRE(seen == 6);
}

TEMPLATE_TEST_CASE("a map of void results gives true for each and then false", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  std::atomic<int> ran{0};
  auto work = [&](int) -> Task<> {
    co_await cohort::yield();
    ++ran;
  };
  auto stream = executor.map(work, count_up(20));
  int results = 0;
  while (true) {
    const bool more = sync_wait(stream.next());
    if (!more) break;
    ++results;
    REQUIRE(ran >= results);
  }
  REQUIRE(results == 20);
  REQUIRE(ran == 20);
  REQUIRE_FALSE(sync_wait(stream.next()));
}

TEMPLATE_TEST_CASE("a void element's exception is thrown at its place", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  auto work = [](int x) {
    if (x == 1) throw std::runtime_error("one");
  };
  auto stream = executor.map(work, count_up(3));
  REQUIRE(sync_wait(stream.next()));
  REQUIRE_THROWS_AS(sync_wait(stream.next()), std::runtime_error);
  REQUIRE(sync_wait(stream.next()));
  REQUIRE_FALSE(sync_wait(stream.next()));
}

TEMPLATE_TEST_CASE("map results may be movable only, without default, or bool", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  auto own = [](int x) { return std::make_unique<int>(x); };
  ResultStream<std::unique_ptr<int>> owners = executor.map(own, std::vector{3, 4});
  std::optional<std::unique_ptr<int>> first = sync_wait(owners.next());
  REQUIRE((first && **first == 3));
  std::vector<std::unique_ptr<int>> rest = sync_wait(std::move(owners));
  REQUIRE((rest.size() == 1 && *rest[0] == 4));

  auto track = [](int x) { return Tracked(x); };
  std::vector<Tracked> tracked = sync_wait(executor.map(track, std::vector{5, 6}));
  REQUIRE((tracked.size() == 2 && tracked[0].value == 5 && tracked[1].value == 6));

  auto even = [](int x) { return x % 2 == 0; };
  ResultStream<bool> truths = executor.map(even, std::vector{1, 2});
  std::optional<bool> odd = sync_wait(truths.next());
  REQUIRE((odd.has_value() && !*odd));
  std::optional<bool> yes = sync_wait(truths.next());
  REQUIRE((yes.has_value() && *yes));
  REQUIRE_FALSE(sync_wait(truths.next()).has_value());
}

TEMPLATE_TEST_CASE("an element's exception is thrown at its place and the next call goes on", "", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(2);
  ResultStream<int> stream = executor.map(odd_only, count_up(5));
  REQUIRE(outcomes(stream) == std::vector<std::string>{"even 0", "1", "even 2", "3", "even 4"});
}

TEST_CASE(
    "an exception before the element's coroutine exists, and one that is no std::exception, are thrown at their "
    "place") {
  AsyncExecutor executor(1);
  auto start = [](int x) -> Task<int> {  // no coroutine itself
    if (x == 1) throw std::runtime_error("not started");
    return twice(x);
  };
  ResultStream<int> stream = executor.map(start, count_up(3));
  REQUIRE(outcomes(stream) == std::vector<std::string>{"0", "not started", "4"});

  auto strange = [](int x) {
    if (x == 0) throw 42;
    return x;
  };
  ResultStream<int> other = executor.map(strange, count_up(2));
  REQUIRE_THROWS_AS(sync_wait(other.next()), int);
  REQUIRE(sync_wait(other.next()) == 1);
}

TEMPLATE_TEST_CASE("an exception of the input range is thrown at its place, and then the stream ends", "",
                   AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  SECTION("in the middle") {
    ResultStream<int> stream = executor.map(twice, Numbers(nullptr, 10, 3));
    REQUIRE(outcomes(stream) == std::vector<std::string>{"0", "2", "4", "broken source"});
    REQUIRE_FALSE(sync_wait(stream.next()).has_value());
  }
  SECTION("beyond the look-ahead") {
    ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 1}, twice, Numbers(nullptr, 10, 3));
    REQUIRE(outcomes(stream) == std::vector<std::string>{"0", "2", "4", "broken source"});
    REQUIRE_FALSE(sync_wait(stream.next()).has_value());
  }
  SECTION("in the middle of a chunk") {
    ResultStream<int> stream = executor.map(MapOptions{.chunk_size = 2}, twice, Numbers(nullptr, 10, 3));
    REQUIRE(outcomes(stream) == std::vector<std::string>{"0", "2", "4", "broken source"});
    REQUIRE_FALSE(sync_wait(stream.next()).has_value());
  }
}

TEST_CASE("map pulls its input no more than buffer_size ahead of the consumer") {
  for (const int chunk : {1, 3, 64}) {
    constexpr int buffer = 5;
    AsyncExecutor executor(2);
    std::atomic<int> pulled{0};
    ResultStream<int> stream = executor.map(
        MapOptions{.buffer_size = buffer, .chunk_size = static_cast<std::size_t>(chunk)}, identity, Numbers(&pulled));
    int most_ahead = 0;
    for (int taken = 0; taken < 50; ++taken) {
      if (chunk == 1) {
        REQUIRE(eventually([&] { return pulled == taken + buffer; }));  // the look-ahead is used to the full
      }
      if (taken % 10 == 0) std::this_thread::sleep_for(2ms);
      most_ahead = std::max(most_ahead, pulled - taken);
      std::optional<int> value = sync_wait(stream.next());
      REQUIRE(value == taken);
      most_ahead = std::max(most_ahead, pulled - taken - 1);
    }
    INFO("chunk_size " << chunk);
    REQUIRE(most_ahead <= buffer);
    REQUIRE(most_ahead >= 1);
  }
}

TEST_CASE("map applies its function no more than buffer_size ahead of the consumer") {
  AsyncExecutor executor(2);
  std::atomic<int> applied{0};
  auto count = [&](int x) {
    ++applied;
    return x;
  };
  ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 1}, count, Numbers());
  for (int taken = 0; taken < 20; ++taken) {
    std::this_thread::sleep_for(1ms);
    REQUIRE(applied <= taken + 1);
    REQUIRE(sync_wait(stream.next()) == taken);
  }
}

TEST_CASE("map of an infinite range runs ahead by a sensible bound when none is given") {
  AsyncExecutor executor(2);
  std::atomic<int> pulled{0};
  ResultStream<int> stream = executor.map(identity, Numbers(&pulled));
  std::this_thread::sleep_for(30ms);
  REQUIRE(pulled <= 100'000);
  for (int i = 0; i < 2000; ++i) REQUIRE(sync_wait(stream.next()) == i);
  REQUIRE(pulled >= 2000);
  REQUIRE(pulled <= 102'000);
}

TEMPLATE_TEST_CASE("map takes an lvalue range by reference", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  SECTION("without copying or moving it") {
    Pinned pinned(20);
    const Pinned& constant = pinned;
    REQUIRE(sync_wait(executor.map(identity, pinned)) == count_up(20));
    REQUIRE(sync_wait(executor.map(identity, constant)) == count_up(20));
    REQUIRE(pinned.numbers == count_up(20));
  }
  SECTION("reading an element only when its turn comes") {
    std::vector<int> numbers = count_up(10);
    ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 1}, identity, numbers);
    numbers[9] = 1000;
    REQUIRE(outcomes(stream) == std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "1000"});
  }
}

TEMPLATE_TEST_CASE("map owns an rvalue range for as long as it needs it", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  SECTION("a vector") {
    ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 2}, identity, count_up(100));
    std::vector<int> values = sync_wait(std::move(stream));
    REQUIRE(values == count_up(100));
  }
  SECTION("a range that can only be moved, gone when the stream and its work are") {
    MoveOnly range(100);
    const std::weak_ptr<int> token = range.token;
    {
      ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 2}, identity, std::move(range));
      REQUIRE(sync_wait(stream.next()) == 0);
      REQUIRE_FALSE(token.expired());
    }
    executor.shutdown();
    REQUIRE(token.expired());
  }
}

TEMPLATE_TEST_CASE("map hands over elements that cannot be copied", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  SECTION("by reference from a container it owns") {
    std::vector<std::unique_ptr<int>> owners;
    for (int i = 0; i < 5; ++i) owners.push_back(std::make_unique<int>(i));
    auto look = [](const std::unique_ptr<int>& owner) { return *owner; };
    REQUIRE(sync_wait(executor.map(look, std::move(owners))) == count_up(5));
  }
  SECTION("by value from a range that makes them") {
    auto take = [](std::unique_ptr<int> owner) -> Task<int> {
      co_await cohort::yield();
      co_return *owner;
    };
    REQUIRE(sync_wait(executor.map(take, Made([](int i) { return std::make_unique<int>(i); }, 5))) == count_up(5));
  }
}

TEMPLATE_TEST_CASE("map keeps its function and the elements alive while a coroutine refers to them", "", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(2);
  const std::string prefix(40, 'p');
  auto refer = [prefix](const std::string& text) -> Task<std::string> {
    co_await sleep_for(1ms);
    co_return prefix + text;
  };
  auto stream =
      executor.map(std::move(refer), Made([](int i) { return std::string(40, static_cast<char>('a' + i)); }, 3));
  std::vector<std::string> texts = sync_wait(std::move(stream));
  REQUIRE(texts == std::vector<std::string>{prefix + std::string(40, 'a'), prefix + std::string(40, 'b'),
                                            prefix + std::string(40, 'c')});
}

#if COHORT_TEST_HAS_VIEWS
TEMPLATE_TEST_CASE("map takes views and streams of input", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  std::vector<int> numbers = count_up(10);
  auto big = [](int x) { return x > 6; };
  REQUIRE(sync_wait(executor.map(twice, numbers | std::views::filter(big))) == std::vector{14, 16, 18});
  std::istringstream text("3 1 2");
  REQUIRE(sync_wait(executor.map(twice, std::ranges::istream_view<int>(text))) == std::vector{6, 2, 4});
  REQUIRE(sync_wait(executor.map(twice, std::views::iota(0) | std::views::take(3))) == std::vector{0, 2, 4});
}
#endif

TEST_CASE("max_concurrency bounds the elements between start and end, and is reached") {
  AsyncExecutor executor(2);
  SECTION("suspended ones included") {
    Peak crowd;
    Meeting meeting(3);
    auto work = [&](int x) -> Task<int> {
      crowd.enter();
      if (x < 3)
        co_await meeting.arrive();
      else
        co_await sleep_for(1ms);
      crowd.leave();
      co_return x;
    };
    std::vector<int> values =
        sync_wait(executor.map(MapOptions{.max_concurrency = 3, .buffer_size = 32}, work, count_up(60)));
    REQUIRE(values == count_up(60));
    REQUIRE(crowd.highest() == 3);
  }
  SECTION("one at a time, in plain functions") {
    Peak crowd;
    auto work = [&](int x) {
      crowd.enter();
      std::this_thread::sleep_for(200us);
      crowd.leave();
      return x;
    };
    std::vector<int> values = sync_wait(executor.map(MapOptions{.max_concurrency = 1}, work, count_up(50)));
    REQUIRE(values == count_up(50));
    REQUIRE(crowd.highest() == 1);
  }
  SECTION("with chunks") {
    Peak crowd;
    auto work = [&](int x) -> Task<int> {
      crowd.enter();
      co_await sleep_for(500us);
      crowd.leave();
      co_return x;
    };
    std::vector<int> values = sync_wait(
        executor.map(MapOptions{.max_concurrency = 2, .buffer_size = 20, .chunk_size = 4}, work, count_up(60)));
    REQUIRE(values == count_up(60));
    REQUIRE(crowd.highest() <= 2);
  }
  SECTION("elements that fail give their place on") {
    ResultStream<int> stream = executor.map(MapOptions{.max_concurrency = 1}, odd_only, count_up(4));
    REQUIRE(outcomes(stream) == std::vector<std::string>{"even 0", "1", "even 2", "3"});
  }
}

TEMPLATE_TEST_CASE("chunks change neither the results nor their order nor where exceptions are thrown", "",
                   AsyncExecutor, ManualExecutor) {
  std::vector<std::string> expected;
  for (int i = 0; i < 23; ++i) expected.push_back(i % 2 == 0 ? "even " + std::to_string(i) : std::to_string(i));
  for (const std::size_t chunk : {std::size_t{1}, std::size_t{2}, std::size_t{5}, std::size_t{23}, std::size_t{1000}}) {
    for (const std::size_t buffer : {std::size_t{1}, std::size_t{7}, std::size_t{64}}) {
      TestType executor(2);
      std::atomic<int> calls{0};
      auto work = [&](int x) {
        ++calls;
        return odd_only(x);
      };
      ResultStream<int> stream =
          executor.map(MapOptions{.buffer_size = buffer, .chunk_size = chunk}, work, count_up(23));
      INFO("chunk_size " << chunk << ", buffer_size " << buffer);
      REQUIRE(outcomes(stream) == expected);
      REQUIRE(calls == 23);
    }
  }
}

TEMPLATE_TEST_CASE("chunks need fewer tasks", "", AsyncExecutor, ManualExecutor) {
  auto tasks = [](std::size_t chunk) {
    TestType executor(2);
    std::vector<int> values =
        sync_wait(executor.map(MapOptions{.buffer_size = 100, .chunk_size = chunk}, identity, count_up(100)));
    executor.shutdown();
    return values == count_up(100) ? executor.stats().submitted : 0;
  };
  const auto single = tasks(1);
  const auto chunked = tasks(20);
  REQUIRE(chunked > 0);
  REQUIRE(single >= 100);
  REQUIRE(chunked <= 20);
}

TEMPLATE_TEST_CASE("map retries an element, and only that element", "", AsyncExecutor, ManualExecutor) {
  for (const std::size_t chunk : {std::size_t{1}, std::size_t{3}}) {
    TestType executor(2);
    std::array<std::atomic<int>, 4> attempts{};
    auto flaky = [&](int x) -> Task<int> {
      const int attempt = ++attempts[static_cast<std::size_t>(x)];
      co_await cohort::yield();
      if (x == 1 && attempt < 3) throw std::runtime_error("attempt " + std::to_string(attempt));
      if (x == 3) throw std::runtime_error("attempt " + std::to_string(attempt));
      co_return x;
    };
    ResultStream<int> stream =
        executor.map(MapOptions{.retries = 2, .retry_delay = 1ms, .chunk_size = chunk}, flaky, count_up(4));
    REQUIRE(outcomes(stream) == std::vector<std::string>{"0", "1", "2", "attempt 3"});
    REQUIRE((attempts[0] == 1 && attempts[1] == 3 && attempts[2] == 1 && attempts[3] == 3));
  }
}

TEMPLATE_TEST_CASE("map retries only what retry_if accepts", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  std::atomic<int> attempts{0};
  auto fail = [&](int) -> int {
    ++attempts;
    throw std::runtime_error("no");
  };
  ResultStream<int> stream = executor.map(
      MapOptions{.retries = 5, .retry_delay = 1ms, .retry_if = [](const std::exception_ptr&) { return false; }}, fail,
      std::vector{1});
  REQUIRE_THROWS_AS(sync_wait(stream.next()), std::runtime_error);
  REQUIRE(attempts == 1);
}

TEMPLATE_TEST_CASE("each attempt of a map's element gets its own copy of the argument", "", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(2);
  std::atomic<int> calls{0};
  auto call = [&](std::string text) -> Task<std::string> {
    co_await cohort::yield();
    if (++calls < 3) throw std::runtime_error("again");
    co_return text;
  };
  std::vector<std::string> words{"whole"};
  REQUIRE(sync_wait(executor.map(MapOptions{.retries = 3, .retry_delay = 1ms}, call, words)) ==
          std::vector<std::string>{"whole"});
  REQUIRE(words == std::vector<std::string>{"whole"});
}

TEST_CASE("a map's timeout runs per result, from when it is awaited") {
  AsyncExecutor executor(2);
  SECTION("not from the call, and not for all together") {
    std::vector<AsyncGate> gates(2);
    auto work = [&](int x) -> Task<int> {
      co_await gates[static_cast<std::size_t>(x)].passed();
      co_return x;
    };
    ResultStream<int> stream = executor.map(MapOptions{.timeout = 400ms}, work, count_up(2));
    // On a busy machine the result may be late; then the timeout must have passed since the call of this.
    auto next = [&]() -> std::optional<int> {
      while (true) {
        const Stopwatch watch;
        try {
          return sync_wait(stream.next());
        } catch (const TimeoutError&) {
          REQUIRE(watch.elapsed() >= 400ms);
        }
      }
    };
    std::this_thread::sleep_for(450ms);  // nobody awaits yet
    auto open_later = [&](std::size_t i) -> Task<> {
      co_await sleep_for(30ms);
      gates[i].open();
    };
    AsyncFuture<void> first = executor.submit(open_later, std::size_t{0});
    REQUIRE(next() == 0);
    std::this_thread::sleep_for(450ms);
    AsyncFuture<void> second = executor.submit(open_later, std::size_t{1});
    REQUIRE(next() == 1);
    first.wait();
    second.wait();
  }
  SECTION("never early, and the result may be awaited again") {
    AsyncGate gate;
    auto work = [&](int x) -> Task<int> {
      if (x == 0) co_await gate.passed();
      co_return x;
    };
    ResultStream<int> stream = executor.map(MapOptions{.timeout = 20ms}, work, count_up(2));
    for (int i = 0; i < 2; ++i) {
      const Clock::time_point begin = Clock::now();
      REQUIRE_THROWS_AS(sync_wait(stream.next()), TimeoutError);
      REQUIRE(Clock::now() - begin >= 20ms);
    }
    gate.open();
    for (const int result : {0, 1}) {
      REQUIRE(eventually([&] {
        try {
          return sync_wait(stream.next()) == result;
        } catch (const TimeoutError&) {
          return false;
        }
      }));
    }
    REQUIRE_FALSE(sync_wait(stream.next()).has_value());
  }
  SECTION("a timeout of zero polls") {
    AsyncGate gate;
    auto work = [&](int x) -> Task<int> {
      co_await gate.passed();
      co_return x;
    };
    ResultStream<int> stream = executor.map(MapOptions{.timeout = 0ms}, work, std::vector{7});
    REQUIRE_THROWS_AS(sync_wait(stream.next()), TimeoutError);
    gate.open();
    REQUIRE(eventually([&] {
      try {
        return sync_wait(stream.next()) == 7;
      } catch (const TimeoutError&) {
        return false;
      }
    }));
  }
  SECTION("the longest does not overflow") {
    ResultStream<int> stream = executor.map(MapOptions{.timeout = Duration::max()}, twice, count_up(3));
    REQUIRE(outcomes(stream) == std::vector<std::string>{"0", "2", "4"});
  }
  SECTION("in a blocking loop too") {
    auto work = [](std::stop_token, int x) -> Task<int> {
      co_await sleep_for(1h);
      co_return x;
    };
    auto loop = [&] {
      int seen = 0;
      for (int& value : executor.map(MapOptions{.timeout = 10ms}, work, std::vector{1})) seen += value;
      return seen;
    };
    REQUIRE_THROWS_AS(loop(), TimeoutError);
  }
}

TEMPLATE_TEST_CASE("awaiting a stream that is no longer wanted collects the rest of it", "", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(2);
  ResultStream<int> stream = executor.map(twice, count_up(6));
  REQUIRE(sync_wait(stream.next()) == 0);
  REQUIRE(sync_wait(stream.next()) == 2);
  std::vector<int> rest = sync_wait(std::move(stream));
  REQUIRE(rest == std::vector{4, 6, 8, 10});
}

TEMPLATE_TEST_CASE("collecting a stream throws the first exception and cancels the rest", "", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(2);
  std::atomic<int> started{0};
  std::atomic<int> stopped{0};
  auto work = [&](int x) -> Task<int> {
    ++started;
    if (x == 1) throw std::runtime_error("one");
    if (x > 1) {
      try {
        co_await sleep_for(1h);
      } catch (const CancelledError&) {
        ++stopped;
        throw;
      }
    }
    co_return x;
  };
  auto collect = [&]() -> Task<std::vector<int>> {
    ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 8}, work, Numbers());
    std::vector<int> values = co_await std::move(stream);
    co_return values;
  };
  REQUIRE_THROWS_WITH(run_on(executor, collect), "one");
  executor.shutdown();
  REQUIRE(started <= 10);
  REQUIRE(stopped == started - 2);
}

TEMPLATE_TEST_CASE("a blocking loop over a map sees every result, and an exception leaves it", "", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(2);
  std::vector<int> seen;
  for (int& value : executor.map(twice, count_up(50))) seen.push_back(value);
  std::vector<int> expected;
  for (int i = 0; i < 50; ++i) expected.push_back(2 * i);
  REQUIRE(seen == expected);

  ResultStream<int> stream = executor.map(odd_only, std::vector{1, 3, 4, 5});
  seen.clear();
  auto loop = [&] {
    for (auto& value : stream) seen.push_back(value);
  };
  REQUIRE_THROWS_WITH(loop(), "even 4");
  REQUIRE(seen == std::vector{1, 3});
}

TEMPLATE_TEST_CASE("map works inside a task on a pool of one", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  SECTION("awaited") {
    auto body = [&]() -> Task<int> {
      int sum = 0;
      ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 2}, twice, count_up(10));
      while (std::optional<int> value = co_await stream.next()) sum += *value;
      co_return sum;
    };
    REQUIRE(run_on(executor, body) == 90);
  }
  SECTION("nested") {
    auto inner = [&](int x) -> Task<int> {
      ResultStream<int> stream = executor.map(identity, count_up(x));
      std::vector<int> values = co_await std::move(stream);
      co_return static_cast<int>(values.size());
    };
    auto body = [&]() -> Task<std::vector<int>> {
      ResultStream<int> stream = executor.map(inner, count_up(5));
      std::vector<int> values = co_await std::move(stream);
      co_return values;
    };
    REQUIRE(run_on(executor, body) == count_up(5));
  }
  SECTION("blocking, in a plain function") {
    auto body = [&] {
      int sum = 0;
      for (int& value : executor.map(twice, count_up(10))) sum += value;
      return sum;
    };
    REQUIRE(executor.submit(body).get() == 90);
  }
}

TEST_CASE("a task that takes from a map continues on its own executor") {
  AsyncExecutor executor(2);
  std::thread::id after;
  auto body = [&]() -> Task<> {
    ResultStream<int> stream = executor.map(twice, count_up(3));
    while (std::optional<int> value = co_await stream.next()) after = std::this_thread::get_id();
  };
  sync_wait(body());
  REQUIRE(after == std::this_thread::get_id());
}

TEST_CASE("destroying a map's stream cancels what has not started") {
  AsyncExecutor executor(1);
  Occupy occupied(executor);
  std::atomic<int> ran{0};
  auto work = [&](int x) {
    ++ran;
    return x;
  };
  { ResultStream<int> stream = executor.map(work, count_up(8)); }
  occupied.release();
  executor.shutdown();
  REQUIRE(ran == 0);
}

TEST_CASE("destroying a map's stream requests a stop of what runs") {
  AsyncExecutor executor(2);
  std::atomic<int> running{0};
  std::atomic<int> stopped{0};
  SECTION("of coroutines") {
    auto work = [&](int x) -> Task<int> {
      ++running;
      try {
        co_await sleep_for(1h);
      } catch (const CancelledError&) {
        ++stopped;
        throw;
      }
      co_return x;
    };
    {
      ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 6}, work, Numbers());
      REQUIRE(eventually([&] { return running == 6; }));
    }
    executor.shutdown();
    REQUIRE(running == 6);
    REQUIRE(stopped == 6);
  }
  SECTION("of plain functions with a stop token") {
    auto work = [&](const std::stop_token& token, int x) {
      ++running;
      while (!token.stop_requested()) std::this_thread::sleep_for(100us);
      ++stopped;
      return x;
    };
    {
      ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 6}, work, Numbers());
      REQUIRE(eventually([&] { return running == 2; }));
    }
    executor.shutdown();
    REQUIRE(running == 2);
    REQUIRE(stopped == 2);
  }
  SECTION("by assignment as well") {
    auto work = [&](int x) -> Task<int> {
      ++running;
      if (x >= 0) co_await sleep_for(1h);
      co_return x;
    };
    ResultStream<int> stream = executor.map(work, count_up(2));
    REQUIRE(eventually([&] { return running == 2; }));
    stream = executor.map(work, std::vector{-1});
    REQUIRE(sync_wait(stream.next()) == -1);
    executor.shutdown();  // returns, since the first map was stopped
    REQUIRE(running == 3);
  }
}

TEST_CASE("destroying a map's stream does not wait for what runs") {
  AsyncExecutor executor(1);
  std::atomic<bool> running{false};
  std::atomic<bool> release{false};
  std::atomic<bool> finished{false};
  auto work = [&](int x) {
    running = true;
    while (!release) std::this_thread::sleep_for(100us);
    finished = true;
    return x;
  };
  {
    ResultStream<int> stream = executor.map(work, count_up(4));
    REQUIRE(eventually([&] { return running.load(); }));
  }
  REQUIRE_FALSE(finished);
  release = true;
  executor.shutdown();
  REQUIRE(finished);
}

TEMPLATE_TEST_CASE("the range may go as soon as the stream is gone", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  for (int round = 0; round < scaled(2000); ++round) {
    auto range = std::make_unique<Pinned>(50);
    {
      ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 2}, identity, *range);
      for (int i = 0; i < round % 5; ++i) (void)sync_wait(stream.next());
    }
    range.reset();
  }
  executor.shutdown();
  SUCCEED("no access to a dead range, which the sanitizers would report");
}

TEST_CASE("results that nobody takes are destroyed", "[R8]") {
  Tracked::live = 0;
  {
    AsyncExecutor executor(2);
    auto track = [](int x) { return Tracked(x); };
    ResultStream<Tracked> stream = executor.map(MapOptions{.buffer_size = 10}, track, Numbers());
    std::optional<Tracked> first = sync_wait(stream.next());
    REQUIRE(first->value == 0);
    REQUIRE(eventually([] { return Tracked::live >= 10; }));
  }
  REQUIRE(Tracked::live == 0);
}

TEMPLATE_TEST_CASE("a map moves its results out without a copy", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  auto track = [](int x) { return Tracked(x); };
  Tracked::copies = 0;
  ResultStream<Tracked> stream = executor.map(track, count_up(10));
  std::optional<Tracked> first = sync_wait(stream.next());
  REQUIRE(first->value == 0);
  std::vector<Tracked> rest = sync_wait(std::move(stream));
  REQUIRE(rest.size() == 9);
  REQUIRE(Tracked::copies == 0);
}

TEMPLATE_TEST_CASE("a stream can be moved", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  ResultStream<int> first = executor.map(twice, count_up(3));
  REQUIRE(sync_wait(first.next()) == 0);
  ResultStream<int> second = std::move(first);
  REQUIRE(sync_wait(second.next()) == 2);
  first = std::move(second);
  REQUIRE(sync_wait(first.next()) == 4);
  REQUIRE_FALSE(sync_wait(first.next()).has_value());
}

TEST_CASE("map refuses options that make no sense, at the call") {
  AsyncExecutor executor(1);
  std::atomic<int> pulled{0};
  auto refused = [&](const MapOptions& options) {
    try {
      ResultStream<int> stream = executor.map(options, identity, Numbers(&pulled));
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  REQUIRE(refused(MapOptions{.max_concurrency = 0}));
  REQUIRE(refused(MapOptions{.buffer_size = 0}));
  REQUIRE(refused(MapOptions{.chunk_size = 0}));
  REQUIRE(refused(MapOptions{.retries = -1}));
  REQUIRE(refused(MapOptions{.retry_delay = -1ms}));
  REQUIRE(refused(MapOptions{.backoff = 0.99}));
  REQUIRE(refused(MapOptions{.jitter = -0.01}));
  REQUIRE(refused(MapOptions{.jitter = 1.01}));
  std::this_thread::sleep_for(5ms);
  REQUIRE(pulled == 0);
}

TEMPLATE_TEST_CASE("after shutdown map throws at the call", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  executor.shutdown();
  std::atomic<int> pulled{0};
  auto work = [&] { ResultStream<int> stream = executor.map(identity, Numbers(&pulled)); };
  REQUIRE_THROWS_AS(work(), ExecutorShutdownError);
  auto nothing = [&] { ResultStream<int> stream = executor.map(identity, std::vector<int>{}); };
  REQUIRE_THROWS_AS(nothing(), ExecutorShutdownError);
}

TEMPLATE_TEST_CASE("a map that is under way when its executor shuts down ends, with values, then at most errors", "",
                   AsyncExecutor, ManualExecutor) {
  for (const bool cancel : {false, true}) {
    TestType executor(2);
    ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 4}, twice, count_up(100));
    REQUIRE(sync_wait(stream.next()) == 0);
    executor.shutdown(ShutdownOptions{.wait = true, .cancel_futures = cancel});
    int values = 1;
    int errors = 0;
    bool in_order = true;
    while (values + errors <= 101) {
      try {
        std::optional<int> value = sync_wait(stream.next());
        if (!value) break;
        in_order = in_order && *value == 2 * (values + errors);
        ++values;
      } catch (const CancelledError&) {
        ++errors;
      } catch (const ExecutorShutdownError&) {
        ++errors;
      }
    }
    INFO(values << " values, " << errors << " errors");
    REQUIRE(in_order);
    REQUIRE(values + errors <= 101);
    if (!cancel) {
      REQUIRE(values >= 4);  // what had been submitted still ran
    }
  }
}

TEMPLATE_TEST_CASE("a stream of an infinite range may outlive its executor", "", AsyncExecutor, ManualExecutor) {
  std::optional<ResultStream<int>> stream;
  {
    TestType executor(2);
    stream.emplace(executor.map(MapOptions{.buffer_size = 3}, twice, Numbers()));
    REQUIRE(sync_wait(stream->next()) == 0);
  }  // waits for what was submitted, which is not the whole range
  for (const int result : {2, 4, 6}) REQUIRE(sync_wait(stream->next()) == result);
  REQUIRE_THROWS_AS(sync_wait(stream->next()), ExecutorShutdownError);
  REQUIRE_FALSE(sync_wait(stream->next()).has_value());
}
