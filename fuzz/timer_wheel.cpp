// The timer wheel against a sorted list of timers.
#include "../src/timer_wheel.hpp"
#include "input.hpp"

#include <algorithm>  // for max
#include <chrono>     // for steady_clock
#include <cstdint>    // for int64_t
#include <deque>      // for deque
#include <iterator>   // for advance
#include <map>        // for multimap

using namespace cohort;
using fuzz::require;

namespace {

struct Alarm : detail::Timer {
  int times = 0;
  int allowed = 1;  // times that it may have fired
  std::multimap<TimePoint, Alarm*>* model = nullptr;
  detail::TimerWheel* wheel = nullptr;
  TimePoint armed_at;
  Duration again{};  // arms itself so much later, once
  std::deque<TimePoint>* fired = nullptr;
};

void ring(detail::Node& timer) noexcept {
  auto& self = static_cast<Alarm&>(timer);
  ++self.times;
  require(self.times <= self.allowed, "a timer fires once");
  auto [it, end] = self.model->equal_range(self.time);
  while (it != end && it->second != &self) ++it;
  require(it != end, "a timer that was taken back does not fire");
  self.model->erase(it);
  self.fired->push_back(self.time);
  if (self.again == Duration::zero()) return;
  self.time = self.time > TimePoint::max() - self.again ? TimePoint::max() : self.time + self.again;
  self.again = {};
  ++self.allowed;
  self.model->emplace(self.time, &self);
  self.wheel->arm(self);
}

constexpr detail::Node::Kind an_alarm{.time_out = &ring};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr Duration tick(std::int64_t{1} << 16);
  fuzz::Input input(data, size);
  std::multimap<TimePoint, Alarm*> model;
  std::deque<Alarm> alarms;
  std::deque<TimePoint> fired;
  detail::TimerWheel wheel;
  // Ahead of the clock, and the same for each input as far as the slots are concerned.
  TimePoint now(Duration(((std::chrono::steady_clock::now().time_since_epoch().count() >> 40) + 2) << 40));
  now += Duration(static_cast<std::int64_t>(input.number(5)));
  // From a tick to decades, in a few bytes.
  const auto span = [&] {
    const auto digits = static_cast<std::int64_t>(input.number(2));
    return Duration(digits << (input.byte() % 46));
  };
  while (!input.empty()) {
    switch (input.below(4)) {
      case 0:
      case 1: {
        Alarm& alarm = alarms.emplace_back();
        alarm.kind = &an_alarm;
        alarm.model = &model;
        alarm.wheel = &wheel;
        alarm.fired = &fired;
        const std::uint8_t kind = input.byte();
        const Duration ahead = span();
        alarm.time = kind == 255                      ? TimePoint::max()
                     : kind == 254                    ? TimePoint::min()
                     : ahead > TimePoint::max() - now ? TimePoint::max()
                     : kind % 4 == 1                  ? now - Duration(ahead.count() % 1'000'000)
                                                      : now + ahead;
        if (kind % 8 == 2) alarm.again = span() + Duration(1);
        alarm.armed_at = now;
        model.emplace(alarm.time, &alarm);
        wheel.arm(alarm);
        break;
      }
      case 2: {
        if (model.empty()) break;
        auto chosen = model.begin();
        std::advance(chosen, static_cast<std::ptrdiff_t>(input.below(model.size())));
        require(wheel.disarm(*chosen->second), "a timer that has not fired can be taken back");
        require(!wheel.disarm(*chosen->second), "but not twice");
        model.erase(chosen);
        break;
      }
      default: {
        const Duration step = span();
        if (step > TimePoint::max() - now - 24 * std::chrono::hours(365)) break;  // the end of time is not reached
        now += step;
        fired.clear();
        wheel.advance(now);
        for (const TimePoint time : fired) require(time <= now, "no timer is early");
        for (std::size_t i = 1; i < fired.size(); ++i) {
          require(fired[i] + tick >= fired[i - 1] || fired[i] < now - step,
                  "timers fire in the order of their deadlines");
        }
        for (const auto& [time, alarm] : model) {
          // One that was armed for a time that was over fires at the next tick; one that armed itself again, the next time.
          require(std::max(time, alarm->armed_at) > now - tick || alarm->allowed > 1, "no timer is forgotten");
        }
      }
    }
    if (!model.empty() && model.begin()->first < TimePoint::max() - tick) {
      require(wheel.next() <= std::max(model.begin()->first, now) + tick,
              "who sleeps until the next timer is not late");
    }
    if (alarms.size() > 500) break;
  }
  for (const auto& [time, alarm] : model) require(wheel.disarm(*alarm), "what is left can be taken back");
  require(wheel.next() == TimePoint::max(), "an empty wheel has no next timer");
  return 0;
}
