// S15 and S16, and what others rest on: the parts by themselves, where a whole executor would hide them behind its own
// steps.

#include <cohort/async_executor.hpp>
#include <cohort/detail/injection_queue.hpp>
#include <cohort/detail/node.hpp>
#include <cohort/detail/scope.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/detail/sync_thread.hpp>
#include <cohort/detail/work_deque.hpp>
#include <cohort/sleep.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <optional>

#include "parker.hpp"
#include "support.hpp"
#include "timer_wheel.hpp"
#include "timer_wheels.hpp"

namespace {

using namespace explore;
using cohort::TimePoint;
using cohort::detail::Timer;
using cohort::detail::TimerWheel;
using cohort::detail::TimerWheels;

// The sleeper announces itself and parks, with and without a deadline, while it is unparked: the token is there in the
// end, and taken once.
template <bool timed>
const char* park() {
  const TimePoint begin = explore::now();
  cohort::detail::Parker parker;
  for (int round = 0; round < 2; ++round) {
    jthread waker([&] { parker.unpark(); });
    parker.park(timed ? explore::now() + 10ms : TimePoint::max());
    parker.wait_for_unpark();
    check(explore::now() == begin, "it was woken: time passes only when nobody can do anything else");
  }
  return "awake";
}
const Scenario s1_parker("S1-parker", "park meets unpark", {"awake"}, park<false>);
const Scenario s1_timed("S1-timed", "park with a deadline meets unpark", {"awake"}, park<true>);

// Two push, two take: everything is taken once, what one thread pushed in its order.
const Scenario s2_queue("S2-queue", "two pushes meet two takers", {"all taken"}, [] {
  struct Item : cohort::detail::Node {
    int taken = 0;
  };
  cohort::detail::InjectionQueue queue;
  std::array<Item, 4> items;
  const auto push = [&](std::size_t first) {
    queue.push(items[first]);
    queue.push(items[first + 1]);
  };
  const auto take = [&] {
    std::array<int, 2> newest{-1, -1};
    for (int attempts = 0; attempts < 3; ++attempts) {
      auto* const item = static_cast<Item*>(queue.pop());
      if (item == nullptr) continue;
      ++item->taken;
      const auto index = static_cast<int>(item - items.data());
      int& last = newest[static_cast<std::size_t>(index / 2)];
      check(index > last, "in the order of each thread");
      last = index;
    }
  };
  jthread pusher([&] { push(0); });
  jthread taker(take);
  push(2);
  take();
  pusher.join();
  taker.join();
  while (auto* const item = static_cast<Item*>(queue.pop())) ++item->taken;
  check(queue.empty(), "nothing is left");
  for (const Item& item : items) check(item.taken == 1, "each is taken once");
  return "all taken";
});

// Two claim the start of a task, one of them to cancel it; a stop is requested, and a node taken out. One claim wins; the
// node is told or taken out, not both.
const Scenario s9_scope("S9-scope", "start meets cancel meets a node's removal",
                        {"started, told", "started, removed", "cancelled, told", "cancelled, removed"}, [] {
                          struct Counter : cohort::detail::StopNode {
                            int told = 0;
                          };
                          cohort::detail::Scope scope;
                          Counter node;
                          static constexpr cohort::detail::Node::Kind a_counter{
                              .stop = [](cohort::detail::Node& told) noexcept { ++static_cast<Counter&>(told).told; }};
                          node.kind = &a_counter;
                          check(scope.add(node), "it is added");
                          bool started = false;
                          jthread starter([&] { started = scope.try_start(); });
                          bool cancelled = false;
                          jthread canceller([&] {
                            cancelled = scope.try_cancel_start();
                            check(scope.request_stop(), "the first request");
                          });
                          const bool removed = scope.remove(node);
                          starter.join();
                          canceller.join();
                          check(started != cancelled && scope.start_cancelled() == cancelled, "one claim wins");
                          check(removed != (node.told == 1), "told, or taken out");
                          return started ? (removed ? "started, removed" : "started, told")
                                         : (removed ? "cancelled, removed" : "cancelled, told");
                        });

// The node of a timer that counts.
struct CountingTimer : Timer {
  CountingTimer() {
    static constexpr Kind a_counter{
        .time_out = [](Node& timer) noexcept { ++static_cast<CountingTimer&>(timer).fired; }};
    kind = &a_counter;
  }
  void arm_at(TimerWheel& wheel, cohort::TimePoint when) {
    time = when;
    wheel.arm(*this);
  }
  int fired = 0;
};

// A timer's time comes while it is taken back: it fires, or disarm() says that it will not. Another is armed meanwhile,
// for a time that has come, and fires with the next look at the clock. Then the wheel goes, with a timer in it.
const Scenario s15("S15", "timer fires meets disarm meets arm, then the wheel goes", {"fired", "disarmed"}, [] {
  CountingTimer first;
  CountingTimer second;
  CountingTimer third;
  bool disarmed = false;
  {
    TimerWheel wheel;
    first.arm_at(wheel, explore::now() + 10ms);
    third.arm_at(wheel, explore::now() + 10h);
    const TimePoint due = explore::now() + 20ms;
    jthread clock([&] { wheel.advance(due); });
    jthread armer([&] { second.arm_at(wheel, due - 15ms); });
    disarmed = wheel.disarm(first);
    clock.join();
    armer.join();
    // Armed for a moment that the wheel has passed, it fires with the next tick.
    check(second.fired == 1 || wheel.next() <= due + 1ms, "what is due is known");
    wheel.advance(due + 1ms);
  }
  check(first.fired == (disarmed ? 0 : 1), "fired, or disarmed");
  check(second.fired == 1, "what is due fires once");
  check(third.fired == 0, "what is not due does not");
  return disarmed ? "disarmed" : "fired";
});

// Two look at the clock: each timer fires once; one that fires takes another of the same moment back, which then must
// not fire in the other thread, unless it says so.
const Scenario s15_two("S15-two-clocks", "two threads advance the wheel", {"fired"}, [] {
  TimerWheel wheel;
  CountingTimer timers[2];
  timers[0].arm_at(wheel, explore::now() + 10ms);
  timers[1].arm_at(wheel, explore::now() + 11ms);
  const TimePoint due = explore::now() + 20ms;
  jthread clock([&] { wheel.advance(due); });
  wheel.advance(due);
  clock.join();
  check(timers[0].fired == 1 && timers[1].fired == 1, "each fires once");
  check(wheel.next() == TimePoint::max(), "and is gone");
  return "fired";
});

// Two workers arm timers of the same time, each on its wheel, and one is taken back as it is armed: at least one of the two
// is told that it is the first to come, and what was not taken back fires.
const Scenario s15_wheels("S15-wheels", "timers are armed on two wheels, and one is taken back meanwhile",
                          {"taken back", "fired"}, [] {
                            TimerWheels wheels(2);
                            CountingTimer timers[2];
                            for (CountingTimer& timer : timers) timer.time = explore::now() + 10ms;
                            timers[1].wheel = 1;
                            bool first[2] = {};
                            bool taken_back = false;
                            {
                              jthread armer([&] { first[0] = wheels.arm(timers[0]); });
                              jthread taker([&] { taken_back = wheels.disarm(timers[0]); });
                              first[1] = wheels.arm(timers[1]);
                            }
                            check(first[0] || first[1], "somebody is told");
                            check(wheels.size() == (taken_back ? 1U : 2U), "the others are armed");
                            wheels.advance(explore::now() + 20ms, TimerWheel::all, 0);
                            check(timers[0].fired == (taken_back ? 0 : 1), "it fires, or was taken back");
                            check(timers[1].fired == 1, "it fires");
                            check(wheels.next() == TimePoint::max(), "and nothing is left");
                            return taken_back ? "taken back" : "fired";
                          });

// A task sleeps, is cancelled when its time comes, and the executor shut down: it ends in one of the two ways.
const Scenario s15_sleep("S15-sleep", "the end of a sleep meets cancel meets shutdown", {"value", "cancelled"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(1);
  const AsyncFuture<int> future = executor.submit([]() -> Task<int> {
    co_await cohort::sleep_for(10ms);
    co_return 5;
  });
  calm.end();
  jthread clock([] { explore::advance(20ms); });
  jthread canceller([&] { future.cancel(); });
  executor.shutdown();
  check(future.done(), "it is done after shutdown");
  return outcome_of(future, 5);
});

// A timer is armed from outside while the workers go to sleep, for a time sooner than the one that they sleep for.
const Scenario s15_sooner("S15-sooner", "a sooner timer meets a worker that sleeps until a later one", {"in order"},
                          [] {
                            AsyncExecutor executor(1);
                            const TimePoint begin = explore::now();
                            const AsyncFuture<TimePoint> later = executor.submit([]() -> Task<TimePoint> {
                              co_await cohort::sleep_for(1h);
                              co_return explore::now();
                            });
                            const AsyncFuture<TimePoint> sooner = executor.submit([]() -> Task<TimePoint> {
                              co_await cohort::sleep_for(10ms);
                              co_return explore::now();
                            });
                            check(sooner.get() >= begin + 10ms && sooner.get() < begin + 1min, "the sooner is in time");
                            check(later.get() >= begin + 1h && later.get() < begin + 61min, "the later is in time");
                            return "in order";
                          });

// A deque of ints, in which everything that is pushed is taken once.
template <std::size_t count>
struct Taken {
  explicit Taken(std::size_t capacity) : deque(capacity) {}

  static bool take(int* item) {
    if (item != nullptr) ++*item;
    return item != nullptr;
  }
  void push(std::size_t index) {
    deque.reserve();
    deque.push_reserved(&items[index]);
  }
  void pop_all() {
    while (take(deque.pop())) {
    }
  }
  void check_all() const {
    check(deque.empty(), "nothing is left");
    for (const int item : items) check(item == 1, "each is taken once");
  }

  cohort::detail::WorkDeque<int> deque;
  std::array<int, count> items{};
};

// The owner pushes beyond the capacity, and pops, while two steal.
const Scenario s16("S16", "pop meets steal meets steal meets grow", {"all taken"}, [] {
  Taken<5> taken(2);
  const auto steal_twice = [&] {
    taken.take(taken.deque.steal());
    taken.take(taken.deque.steal());
  };
  jthread thief(steal_twice);
  jthread other_thief(steal_twice);
  taken.push(0);
  taken.push(1);
  taken.take(taken.deque.pop());
  taken.push(2);
  taken.push(3);
  taken.push(4);
  taken.pop_all();
  thief.join();
  other_thief.join();
  taken.check_all();
  return "all taken";
});

// One steals from a deque that is full, and grows.
const Scenario s16_full("S16-full", "steal meets grow", {"all taken"}, [] {
  Taken<3> taken(2);
  taken.push(0);
  taken.push(1);
  jthread thief([&] { taken.take(taken.deque.steal()); });
  taken.push(2);
  taken.pop_all();
  thief.join();
  taken.check_all();
  return "all taken";
});

// The owner takes one by name, the newest, while another steals: it has that one or nothing.
const Scenario s16_named("S16-named", "pop of the newest meets steal", {"popped", "stolen"}, [] {
  Taken<2> taken(2);
  taken.push(0);
  jthread thief([&] { taken.take(taken.deque.steal()); });
  check(!taken.deque.pop(&taken.items[1]), "it is not there");
  const bool popped = taken.deque.pop(&taken.items[0]);
  if (popped) ++taken.items[0];
  thief.join();
  if (popped) check(taken.items[0] == 1, "it is taken once");
  taken.push(1);
  taken.pop_all();
  taken.check_all();
  return popped ? "popped" : "stolen";
});

// The owner takes the oldest by name, while two steal: each is taken once.
const Scenario s16_oldest("S16-oldest", "take of the oldest meets steal meets steal", {"taken", "stolen"}, [] {
  Taken<4> taken(4);
  for (std::size_t i = 0; i < 4; ++i) taken.push(i);
  const auto steal = [&] { taken.take(taken.deque.steal()); };
  jthread thief(steal);
  jthread other_thief(steal);
  const bool oldest = taken.deque.take(&taken.items[0]);
  if (oldest) ++taken.items[0];
  thief.join();
  other_thief.join();
  taken.pop_all();
  taken.check_all();
  return oldest ? "taken" : "stolen";
});

}  // namespace
