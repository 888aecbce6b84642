#pragma once

#include <cohort/cohort.hpp>  // for sleep_for, Task

#include <atomic>     // for atomic
#include <chrono>     // for milliseconds, steady_clock
#include <cstddef>    // for size_t
#include <cstdint>    // for uint32_t
#include <random>     // for mt19937
#include <stdexcept>  // for runtime_error
#include <vector>     // for vector

using Clock = std::chrono::steady_clock;

/// The service could not answer this time. Asking again may help.
struct Unavailable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The service does not understand. Asking again will not help.
struct BadRequest : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// One attempt, as the service saw it.
struct Attempt {
  enum class End { answered, refused, stopped };

  Clock::time_point begin = Clock::now();
  Clock::time_point end = begin;
  End how = End::stopped;
};

/// A service that answers late, refuses or hangs. What it does depends on the seed, the request and the number of the
/// attempt, and on nothing else: neither on the time nor on the thread that asks.
class FlakyService {
 public:
  FlakyService(std::uint32_t seed, std::size_t requests) : seed_(seed), attempts_(requests) {}

  /// Answers a request, given as its number, with the square of that number.
  cohort::Task<int> ask(std::size_t request) {
    using namespace std::chrono_literals;
    Visit visit(*this, request);
    std::mt19937 random(seed_ + 1000 * static_cast<std::uint32_t>(request) + visit.number());
    const std::chrono::milliseconds latency(20 + random() % 100);
    const auto luck = random() % 100;
    const bool hangs = luck < 20;
    co_await cohort::sleep_for(hangs ? 1h : latency);  // leaves by CancelledError when the attempt is stopped
    if (request == bad_request) {
      visit.ends(Attempt::End::refused);
      throw BadRequest("bad request");
    }
    if (luck < 55) {
      visit.ends(Attempt::End::refused);
      throw Unavailable("unavailable");
    }
    visit.ends(Attempt::End::answered);
    co_return answer(request);
  }

  static int answer(std::size_t request) { return static_cast<int>(request * request); }

  /// The request that is refused for good.
  static constexpr std::size_t bad_request = 4;

  /// The largest number of attempts that were in here at once.
  int busiest() const { return busiest_; }

  /// What became of one request. To be read when the request has ended. Its attempts follow each other, and nobody else
  /// touches their list, so that no lock is needed.
  const std::vector<Attempt>& attempts(std::size_t request) const { return attempts_[request]; }

 private:
  /// The presence of one attempt in the service, however it leaves.
  class Visit {
   public:
    Visit(FlakyService& service, std::size_t request) : service_(service), attempts_(service.attempts_[request]) {
      attempts_.emplace_back();
      const int present = ++service_.present_;
      int busiest = service_.busiest_;
      while (present > busiest && !service_.busiest_.compare_exchange_weak(busiest, present)) {
      }
    }
    ~Visit() {
      attempts_.back().end = Clock::now();
      --service_.present_;
    }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

    std::uint32_t number() const { return static_cast<std::uint32_t>(attempts_.size()); }
    void ends(Attempt::End how) { attempts_.back().how = how; }

   private:
    FlakyService& service_;
    std::vector<Attempt>& attempts_;
  };

  const std::uint32_t seed_;
  std::atomic<int> present_ = 0;
  std::atomic<int> busiest_ = 0;
  std::vector<std::vector<Attempt>> attempts_;  // of each request
};
