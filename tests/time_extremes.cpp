// Time at its ends: the timer wheel against made-up times, the pauses of retries, and durations that no clock can count.
#include "adaptor_support.hpp"
#include "catch.hpp"

#include "../src/timer_wheel.hpp"

#include <cohort/cohort.hpp>

#include <algorithm>  // for is_sorted
#include <chrono>     // for nanoseconds
#include <climits>    // for INT_MAX
#include <cmath>      // for INFINITY
#include <cstddef>    // for size_t
#include <cstdint>    // for uint64_t
#include <deque>      // for deque
#include <map>        // for multimap
#include <random>     // for mt19937_64
#include <string>     // for string
#include <vector>     // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

constexpr Duration tick(std::int64_t{1} << 16);

/// A time that is ahead of the clock, at the beginning of a round of all the wheel's lower levels.
TimePoint base() {
  constexpr std::int64_t round = std::int64_t{1} << (16 + 24);  // of four levels
  const std::int64_t now = (Clock::now() + 1h).time_since_epoch().count();
  return TimePoint(Duration((now / round + 1) * round));
}

/// A timer that keeps a record.
struct Alarm : detail::Timer {
  explicit Alarm(std::vector<Alarm*>* where = nullptr) : rung(where) {
    static constexpr Kind an_alarm{.time_out = [](Node& timer) noexcept {
      auto& self = static_cast<Alarm&>(timer);
      ++self.times;
      if (self.rung != nullptr) self.rung->push_back(&self);
    }};
    kind = &an_alarm;
  }
  std::vector<Alarm*>* rung;
  int times = 0;
};

void arm_at(detail::TimerWheel& wheel, detail::Timer& timer, TimePoint time) {
  timer.time = time;
  wheel.arm(timer);
}

}  // namespace

// ---- The wheel -----------------------------------------------------------------------------------------------------

TEST_CASE("a timer fires at its time and not before, at the boundaries of every slot and level", "[R11]") {
  int early = 0, late = 0, blind = 0;
  const TimePoint start = base();
  for (unsigned level = 0; level < 7; ++level) {
    for (std::int64_t digit : {1, 2, 63, 64, 126, 127, 128, 129}) {
      for (const std::int64_t ticks : {-1, 0, 1}) {
        for (const std::int64_t nanoseconds : {-1, 0, 1}) {
          const std::int64_t count = (digit << (7 * level)) + ticks;
          if (count > (std::int64_t{1} << 45)) continue;
          const TimePoint time = start + count * tick + Duration(nanoseconds);
          detail::TimerWheel wheel;
          Alarm alarm(nullptr);
          arm_at(wheel, alarm, time);
          // Up to the very last moment before it, in one step or in several.
          for (const Duration before : {1000 * tick, 64 * tick, tick, Duration(1)}) {
            if (wheel.next() > time + tick) ++blind;
            wheel.advance(time - before);
            if (alarm.times != 0) ++early;
          }
          if (wheel.next() > time + tick) ++blind;
          wheel.advance(time + tick);
          if (alarm.times != 1) ++late;
          if (wheel.next() != TimePoint::max()) ++blind;
        }
      }
    }
  }
  REQUIRE(early == 0);
  REQUIRE(late == 0);
  REQUIRE(blind == 0);
}

TEST_CASE("a million timers at one tick fire together, in the order in which they were armed", "[R11]") {
  const int count = scaled(1'000'000);
  std::vector<Alarm*> rung;
  rung.reserve(static_cast<std::size_t>(count));
  std::vector<Alarm> alarms(static_cast<std::size_t>(count));
  detail::TimerWheel wheel;
  const TimePoint time = base() + 12345 * tick;
  for (Alarm& alarm : alarms) {
    alarm.rung = &rung;
    arm_at(wheel, alarm, time);
  }
  wheel.advance(time - Duration(1));
  REQUIRE(rung.empty());
  const Stopwatch watch;
  wheel.advance(time);
  REQUIRE(rung.size() == alarms.size());
  REQUIRE(std::is_sorted(rung.begin(), rung.end()));
  REQUIRE(watch.elapsed() < 20s);
}

TEST_CASE("timers fire a few at a time where that is wanted, all of them and in order", "[R11]") {
  std::vector<Alarm*> rung;
  std::deque<Alarm> alarms;
  detail::TimerWheel wheel;
  const TimePoint start = base();
  // Over far more ticks than the wheel's lowest level has, so that most have to come down first.
  for (int i = 0; i < 20'000; ++i) {
    alarms.emplace_back(&rung);
    arm_at(wheel, alarms.back(), start + i * tick);
  }
  const TimePoint now = start + 15'000 * tick;
  int idle = 0;
  while (wheel.next() <= now && idle < 1000) {
    const std::size_t before = rung.size();
    wheel.advance(now, 10);
    REQUIRE(rung.size() - before <= 10);
    idle = rung.size() == before ? idle + 1 : 0;
  }
  REQUIRE(rung.size() == 15'001);
  for (std::size_t i = 0; i < rung.size(); ++i) REQUIRE(rung[i] == &alarms[i]);
  REQUIRE(wheel.size() == 4'999);
}

TEST_CASE("timers are taken back out of order, and the others fire in theirs", "[R11]") {
  const int count = scaled(200'000);
  std::mt19937_64 random(7);
  std::vector<Alarm*> rung;
  std::deque<Alarm> alarms;
  detail::TimerWheel wheel;
  const TimePoint start = base();
  for (int i = 0; i < count; ++i) {
    alarms.emplace_back(&rung);
    alarms.back().time = start + Duration(static_cast<std::int64_t>(random() % (std::uint64_t{1} << (random() % 50))));
    wheel.arm(alarms.back());
  }
  std::size_t left = alarms.size();
  for (std::size_t step : {std::size_t{7}, std::size_t{3}, std::size_t{2}}) {
    for (std::size_t i = alarms.size(); i-- > 0;)
      if (i % step == 1 && wheel.disarm(alarms[i])) --left;
  }
  REQUIRE_FALSE(wheel.disarm(alarms[1]));
  int wrong = 0;
  TimePoint now = start;
  std::size_t seen = 0;
  while (rung.size() < left && now < start + 24 * 365h) {
    now += Duration(static_cast<std::int64_t>(random() % (std::uint64_t{1} << (random() % 48))));
    wheel.advance(now);
    for (; seen < rung.size(); ++seen) {
      if (rung[seen]->time > now) ++wrong;  // early
      // In order of deadline, up to a tick.
      if (seen > 0 && rung[seen]->time + tick < rung[seen - 1]->time) ++wrong;
    }
  }
  REQUIRE(rung.size() == left);
  REQUIRE(wrong == 0);
  for (const Alarm& alarm : alarms) wrong += alarm.times > 1 ? 1 : 0;
  REQUIRE(wrong == 0);
  REQUIRE(wheel.next() == TimePoint::max());
}

TEST_CASE("a timer that arms itself again when it fires fires once each time the wheel is looked at", "[R11]") {
  struct Again : detail::Timer {
    detail::TimerWheel* wheel = nullptr;
    Duration period{};
    int times = 0;
  };
  detail::TimerWheel wheel;
  Again again;
  again.wheel = &wheel;
  int wrong = 0;
  again.time = base();
  static constexpr detail::Node::Kind one_that_comes_again{.time_out = [](detail::Node& timer) noexcept {
    auto& self = static_cast<Again&>(timer);
    ++self.times;
    self.time += self.period;
    self.wheel->arm(self);
  }};
  again.kind = &one_that_comes_again;
  SECTION("for a later time") {
    again.period = 100 * tick;
    wheel.arm(again);
    for (int i = 1; i <= 1000; ++i) {
      wheel.advance(again.time - Duration(1));
      if (again.times != i - 1) ++wrong;
      wheel.advance(again.time);
      if (again.times != i) ++wrong;
    }
  }
  SECTION("for a time that is over") {
    again.period = Duration(0);
    wheel.arm(again);
    for (int i = 1; i <= 1000; ++i) {
      wheel.advance(again.time + i * 2 * tick);
      if (again.times != i) ++wrong;
    }
  }
  REQUIRE(wrong == 0);
  REQUIRE(wheel.disarm(again));
}

TEST_CASE("a hundred years pass at once and every timer fires, in order", "[R11]") {
  std::vector<Alarm*> rung;
  std::deque<Alarm> alarms;
  detail::TimerWheel wheel;
  const TimePoint start = base();
  std::vector<TimePoint> times;
  for (int shift = 0; shift < 61; ++shift) times.push_back(start + Duration((std::int64_t{1} << shift) - 1));
  std::shuffle(times.begin(), times.end(), std::mt19937_64(3));
  for (const TimePoint time : times) {
    alarms.emplace_back(&rung);
    alarms.back().time = time;
    arm_at(wheel, alarms.back(), time);
  }
  wheel.advance(start + 876'000h);
  int wrong = 0;
  for (const Alarm& alarm : alarms) {
    if (alarm.times != (alarm.time <= start + 876'000h ? 1 : 0)) ++wrong;
  }
  for (std::size_t i = 1; i < rung.size(); ++i) {
    if (rung[i]->time + tick < rung[i - 1]->time) ++wrong;
  }
  REQUIRE(wrong == 0);
  // It goes on from there.
  Alarm last(nullptr);
  arm_at(wheel, last, start + 900'000h);
  wheel.advance(start + 900'000h - Duration(1));
  REQUIRE(last.times == 0);
  wheel.advance(start + 900'000h + tick);
  REQUIRE(last.times == 1);
}

TEST_CASE("a timer for the end of time never fires, and one for its beginning at once", "[R11]") {
  detail::TimerWheel wheel;
  Alarm never(nullptr), almost(nullptr), first(nullptr), negative(nullptr), zero(nullptr), soon(nullptr);
  arm_at(wheel, never, TimePoint::max());
  REQUIRE(wheel.next() == TimePoint::max());
  arm_at(wheel, almost, TimePoint::max() - Duration(1));
  arm_at(wheel, first, TimePoint::min());
  arm_at(wheel, negative, TimePoint(Duration(-1)));
  arm_at(wheel, zero, TimePoint(Duration(0)));
  arm_at(wheel, soon, base());
  REQUIRE(wheel.next() <= Clock::now() + tick);
  wheel.advance(base() + 24h);
  REQUIRE(first.times + negative.times + zero.times + soon.times == 4);
  REQUIRE(never.times + almost.times == 0);
  REQUIRE(wheel.disarm(never));
  REQUIRE(wheel.disarm(almost));
  REQUIRE_FALSE(wheel.disarm(soon));
  REQUIRE(wheel.next() == TimePoint::max());
}

TEST_CASE("the timer wheel does what a sorted list of timers does", "[R11]") {
  std::mt19937_64 random(11);
  for (int round = 0; round < scaled(200); ++round) {
    detail::TimerWheel wheel;
    std::vector<Alarm*> rung;
    std::deque<Alarm> alarms;
    std::multimap<TimePoint, Alarm*> model;
    TimePoint now = base() + Duration(static_cast<std::int64_t>(random() % (std::uint64_t{1} << 40)));
    int wrong = 0;
    for (int step = 0; step < 500; ++step) {
      const auto span = static_cast<std::int64_t>(random() % (std::uint64_t{1} << (random() % 44)));
      switch (random() % 4) {
        case 0:
        case 1: {
          alarms.emplace_back(&rung);
          Alarm& alarm = alarms.back();
          alarm.time = now + Duration(span);
          wheel.arm(alarm);
          model.emplace(alarm.time, &alarm);
          break;
        }
        case 2: {
          if (model.empty()) break;
          auto chosen = model.begin();
          std::advance(chosen, static_cast<std::ptrdiff_t>(random() % model.size()));
          if (!wheel.disarm(*chosen->second)) ++wrong;
          model.erase(chosen);
          break;
        }
        default: {
          now += Duration(span);
          rung.clear();
          wheel.advance(now);
          for (const Alarm* alarm : rung) {
            if (alarm->time > now || alarm->times != 1) ++wrong;
            for (auto [it, end] = model.equal_range(alarm->time); it != end; ++it) {
              if (it->second != alarm) continue;
              model.erase(it);
              break;
            }
          }
          if (!model.empty() && model.begin()->first + tick <= now) ++wrong;  // forgotten
        }
      }
      if (!model.empty() && wheel.next() > model.begin()->first + tick) ++wrong;  // would be late
      if (model.empty() && step % 4 == 3 && wheel.next() != TimePoint::max()) ++wrong;
    }
    REQUIRE(wrong == 0);
  }
}

// ---- Retries -------------------------------------------------------------------------------------------------------

TEST_CASE("the pause after any attempt, with any options, is from zero to the longest", "[R11]") {
  const Duration delays[] = {Duration(0), Duration(1), 1us, 100ms, 24h, Duration::max() / 2, Duration::max()};
  const Duration longest[] = {Duration(0), Duration(1), 1s, Duration::max() - Duration(1), Duration::max()};
  const double growth[] = {1.0, std::nextafter(1.0, 2.0), 2.0, 10.0, 1e300, INFINITY};
  const int attempts[] = {1, 2, 63, 64, 65, 1000, INT_MAX - 1, INT_MAX};
  int wrong = 0;
  for (const Duration delay : delays)
    for (const Duration most : longest)
      for (const double backoff : growth)
        for (const double jitter : {0.0, 0.5, 1.0}) {
          const SubmitOptions options{
              .retries = INT_MAX, .retry_delay = delay, .backoff = backoff, .max_retry_delay = most, .jitter = jitter};
          detail::validate(options.retries, options.retry_delay, options.backoff, options.max_retry_delay,
                           options.jitter);
          Duration before(0);
          for (const int attempt : attempts) {
            const Duration pause = detail::retry_pause(options, attempt);
            if (pause < Duration(0) || pause > most) ++wrong;
            if (jitter == 0.0) {
              if (pause < before) ++wrong;                 // it never shrinks
              if (pause < std::min(delay, most)) ++wrong;  // and is never too short
              if (attempt == 1 && pause - std::min(delay, most) > delay / 1024) ++wrong;
              before = pause;
            }
          }
          // Growing without bounds, it arrives at the longest.
          if (jitter == 0.0 && backoff >= 2.0 && delay > Duration(0) && detail::retry_pause(options, 1000) != most)
            ++wrong;
        }
  REQUIRE(wrong == 0);
}

TEST_CASE("a task may be retried as often as an int can count", "[R11]") {
  AsyncExecutor executor(1);
  int attempts = 0;
  auto stubborn = [&] {
    if (++attempts < 2000) throw std::runtime_error("once more");
    return attempts;
  };
  REQUIRE(executor.submit(SubmitOptions{.retries = INT_MAX, .retry_delay = 0s, .backoff = 1e300}, stubborn).get() ==
          2000);
}

// ---- Durations -----------------------------------------------------------------------------------------------------

TEST_CASE("durations of any kind are saturated and rounded up", "[R11]") {
  using namespace std::chrono;
  using Seconds = duration<double>;
  using Years = duration<std::int64_t, std::ratio<31'556'952>>;
  REQUIRE(detail::saturate(hours::max()) == Duration::max());
  REQUIRE(detail::saturate(hours::min()) == Duration::min());
  REQUIRE(detail::saturate(Years::max()) == Duration::max());
  REQUIRE(detail::saturate(Years(-300)) == Duration::min());
  REQUIRE(detail::saturate(Seconds(INFINITY)) == Duration::max());
  REQUIRE(detail::saturate(Seconds(-INFINITY)) == Duration::min());
  REQUIRE(detail::saturate(Seconds(std::nan(""))) == Duration::zero());
  REQUIRE(detail::saturate(Seconds(1e-12)) == Duration(1));
  REQUIRE(detail::saturate(Seconds(-1e-12)) <= Duration::zero());
  REQUIRE(detail::saturate(duration<std::int64_t, std::pico>(1)) == Duration(1));
  REQUIRE(detail::saturate(duration<std::int64_t, std::pico>(-1)) == Duration(0));
  REQUIRE(detail::saturate(duration<unsigned char, std::ratio<3600>>(255)) == 255h);
  REQUIRE(detail::saturate(nanoseconds::max()) == Duration::max());
  REQUIRE(detail::deadline_after(Duration::max()) == TimePoint::max());
  const TimePoint over = detail::deadline_after(Duration::min());
  REQUIRE(over <= Clock::now());
  REQUIRE(detail::deadline_after(TimePoint::max() - Clock::now() - 1h) < TimePoint::max());
}

TEST_CASE("every wait takes every duration: what is over is over, what has no end can be cancelled", "[R11]") {
  using namespace std::chrono;
  AsyncExecutor executor(2);
  AsyncPromise<int> promise;
  const AsyncFuture<int> never = promise.get_future();
  const Duration over[] = {Duration::min(), -24h, Duration(-1), Duration(0)};
  const Duration endless[] = {Duration::max(), Duration::max() - Duration(1), TimePoint::max() - Clock::now(),
                              876'000h};
  for (const Duration duration : over) {
    auto body = [&]() -> Task<int> {
      co_await sleep_for(duration);
      int timeouts = 0;
      try {
        static_cast<void>(co_await never.result(duration));
      } catch (const TimeoutError&) {
        ++timeouts;
      }
      const std::vector<AsyncFuture<int>> futures{never};
      try {
        static_cast<void>(co_await cohort::wait(futures, WaitOptions{.timeout = duration}));
      } catch (const TimeoutError&) {
        ++timeouts;
      }
      co_return timeouts;
    };
    REQUIRE(executor.submit(body).get(patience) == 2);
    REQUIRE_FALSE(never.wait_for(duration));
    REQUIRE(thrown_by([&] { return never.get(duration); }) == "timeout");
    auto sleeper = []() -> Task<> { co_await sleep_for(1ms); };
    const std::string outcome =
        thrown_by([&] { executor.submit(SubmitOptions{.timeout = duration}, sleeper).get(patience); });
    REQUIRE(outcome == "timeout");
  }
  for (const Duration duration : endless) {
    std::vector<AsyncFuture<void>> waiting;
    auto sleeps = [&]() -> Task<> { co_await sleep_for(duration); };
    auto sleeps_until = [&]() -> Task<> { co_await sleep_until(detail::deadline_after(duration)); };
    auto awaits = [&]() -> Task<> { static_cast<void>(co_await never.result(duration)); };
    auto waits = [&]() -> Task<> {
      const std::vector<AsyncFuture<int>> futures{never};
      static_cast<void>(co_await cohort::wait(futures, WaitOptions{.timeout = duration}));
    };
    waiting.push_back(executor.submit(sleeps));
    waiting.push_back(executor.submit(sleeps_until));
    waiting.push_back(executor.submit(awaits));
    waiting.push_back(executor.submit(waits));
    waiting.push_back(executor.submit(SubmitOptions{.timeout = duration}, sleeps));
    std::this_thread::sleep_for(5ms);
    for (const AsyncFuture<void>& each : waiting) REQUIRE_FALSE(each.done());
    for (const AsyncFuture<void>& each : waiting) REQUIRE(each.cancel());
    for (const AsyncFuture<void>& each : waiting) REQUIRE(each.wait_for(patience));
  }
}
