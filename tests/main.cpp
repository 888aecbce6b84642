// main() for every test program. After each test case it looks for task frames and shared states that were left behind. A
// test case that takes too long ends the program with a look at what its executors do.
#if !__has_include(<catch2/catch_test_macros.hpp>)
#define CATCH_CONFIG_RUNNER
#endif
#include "catch.hpp"

#if COHORT_CATCH_VERSION == 3
#include <catch2/catch_session.hpp>
#include <catch2/catch_test_case_info.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#endif

#include <signal.h>
#include <time.h>

#include <chrono>
#include <cohort/detail/frame_memory.hpp>  // for live_frames
#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <string>

#include "support.hpp"

namespace {

// Rings once, by a signal: a thread that waits would be one more in each test that counts them, or forks. Shorter than
// ctest's patience.
class Watchdog {
 public:
  Watchdog() {
    struct sigaction action {};
    action.sa_handler = &ring;
    ::sigaction(test::watchdog_signal(), &action, nullptr);
    struct sigevent event {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = test::watchdog_signal();
    made_ = ::timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  }

  // From now on, or never.
  void watch(std::chrono::seconds time) {
    itimerspec setting{};
    setting.it_value.tv_sec = time.count();
    if (made_) ::timer_settime(timer_, 0, &setting, nullptr);
  }

 private:
  // Nothing that is hung is in the middle of an allocation. If something is, then ctest will end it.
  static void ring(int) {
    std::cerr << "\nThe test hangs, or takes too long. What goes on in its executors:\n";
    test::print_executors();
    std::abort();
  }

  timer_t timer_{};
  bool made_ = false;
};

std::ptrdiff_t leaked_frames = 0;  // by all test cases so far

/// The number of frames that are alive, once threads that are still leaving have had the time to go.
std::ptrdiff_t settled_frames() {
  std::ptrdiff_t frames = 0;
  static_cast<void>(test::eventually([&] {
    frames = cohort::detail::live_frames();
    return frames == leaked_frames;
  }));
  return frames;
}

// The name of a test case: 3 hands out a pointer to its description, 2 the description.
[[maybe_unused]] std::string name_of(const Catch::TestCaseInfo* info) { return info->name; }
[[maybe_unused]] std::string name_of(const Catch::TestCaseInfo& info) { return info.name; }

#if COHORT_CATCH_VERSION == 3
using Listener = Catch::EventListenerBase;
#else
using Listener = Catch::TestEventListenerBase;
#endif

class LookForFrames : public Listener {
 public:
  using Listener::Listener;

  void testCaseStarting(const Catch::TestCaseInfo&) override {
    watchdog_.watch(std::chrono::seconds(test::sanitized ? 500 : 300));
  }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    watchdog_.watch(std::chrono::seconds(0));
    const std::ptrdiff_t frames = settled_frames();
    if (frames == leaked_frames) return;
    std::cerr << "\n" << frames - leaked_frames << " frames are alive after \"" << name_of(stats.testInfo) << "\"\n";
    leaked_frames = frames;
  }

 private:
  Watchdog watchdog_;
};

}  // namespace

CATCH_REGISTER_LISTENER(LookForFrames)

int main(int argc, char** argv) {
  const int result = Catch::Session().run(argc, argv);
  return result == 0 && leaked_frames != 0 ? EXIT_FAILURE : result;
}
