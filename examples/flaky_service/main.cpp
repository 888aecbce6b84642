// flaky_service [SEED]
//
// A dozen requests to a service that answers late, refuses or hangs, and that cannot take more than three of them at a
// time. Each request is a submitted task with retries, a timeout for each attempt, and a permit of a semaphore while it
// is inside the service; two are cancelled on the way. Two threads are plenty, since nobody holds one while waiting.
// In the end a chart shows who did what when, and the program checks that the rules were kept.

#include <cohort/cohort.hpp>

#include <algorithm>   // for min
#include <chrono>      // for duration_cast
#include <cstddef>     // for size_t
#include <cstdint>     // for uint32_t
#include <cstdlib>     // for EXIT_FAILURE, EXIT_SUCCESS, strtoul
#include <exception>   // for exception, exception_ptr
#include <functional>  // for ref
#include <iomanip>     // for setw
#include <iostream>    // for cout
#include <stop_token>  // for stop_source
#include <string>      // for string
#include <utility>     // for move
#include <vector>      // for vector

#include "chart.hpp"    // for Row, Scale
#include "service.hpp"  // for Attempt, BadRequest, Clock, FlakyService

using namespace std::chrono_literals;

namespace {

constexpr std::size_t request_count = 12;
constexpr int service_limit = 3;
constexpr int retries = 3;
constexpr cohort::Duration retry_delay = 40ms;  // doubled after every attempt
constexpr cohort::Duration attempt_timeout = 200ms;

/// Two requests are given up after a while: one with everything else its visitor wanted, one by itself.
constexpr std::size_t visitors_request = 7;
constexpr std::size_t needless_request = 9;
constexpr cohort::Duration patience = 300ms;

/// One request, as the client saw it.
struct Request {
  enum class End { answered, failed, cancelled };

  Clock::time_point begin = Clock::now();
  Clock::time_point end = begin;
  End how = End::failed;
  int answer = 0;
  std::string text;
};

/// Another attempt is worth its while when the service was unavailable, and after a timeout.
bool is_transient(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const BadRequest&) {
    return false;
  } catch (const cohort::CancelledError&) {
    return false;
  } catch (...) {
    return true;
  }
}

/// Waits for the end of a request, and takes it down.
cohort::Task<> follow(cohort::AsyncFuture<int> future, Request& request) {
  try {
    request.answer = co_await future;
    request.how = Request::End::answered;
    request.text = "answer " + std::to_string(request.answer);
  } catch (const cohort::CancelledError&) {
    request.how = Request::End::cancelled;
    request.text = "cancelled";
  } catch (const std::exception& error) {
    request.text = std::string("failed: ") + error.what();
  }
  request.end = Clock::now();
}

/// A request can be cancelled by hand, or through a stop token that it was given.
cohort::Task<> give_up(cohort::AsyncFuture<int> needless, std::stop_source visitor) {
  co_await cohort::sleep_for(patience);
  needless.cancel();
  visitor.request_stop();
}

cohort::Task<std::vector<Request>> ask_everything(cohort::AsyncExecutor& executor, FlakyService& service) {
  cohort::Semaphore permits(service_limit);
  const cohort::SubmitOptions options{.retries = retries,
                                      .retry_delay = retry_delay,
                                      .backoff = 2.0,
                                      .retry_if = is_transient,
                                      .semaphore = &permits,
                                      .timeout = attempt_timeout};
  std::vector<Request> requests(request_count);
  std::vector<cohort::AsyncFuture<int>> futures;
  std::vector<cohort::Task<>> tasks;
  for (std::size_t i = 0; i < request_count; ++i) {
    futures.push_back(executor.submit(options, &FlakyService::ask, std::ref(service), i));
    tasks.push_back(follow(futures[i], requests[i]));
  }
  const std::stop_source visitor;
  futures[visitors_request].cancel_when(visitor.get_token());
  tasks.push_back(give_up(futures[needless_request], visitor));
  co_await cohort::when_all(std::move(tasks));
  co_return requests;
}

/// How the time of one request was spent.
struct Parts {
  Clock::duration inside{};   // the service
  Clock::duration pausing{};  // before retries
  Clock::duration waiting{};  // for a permit, mostly
};

/// The pause that submit() was told to make after an attempt, the first being number 1.
cohort::Duration pause_after(std::size_t attempt) { return retry_delay * (1 << (attempt - 1)); }

/// When the pause after attempt number `i` of `attempts` ended. There is none after the last, unless the request was
/// cancelled before it could be tried again.
Clock::time_point pause_end(const Request& request, const std::vector<Attempt>& attempts, std::size_t i) {
  const bool paused = i + 1 < attempts.size() || request.how == Request::End::cancelled;
  return paused ? std::min(request.end, attempts[i].end + pause_after(i + 1)) : attempts[i].end;
}

Parts parts(const Request& request, const std::vector<Attempt>& attempts) {
  Parts result;
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    result.inside += attempts[i].end - attempts[i].begin;
    result.pausing += pause_end(request, attempts, i) - attempts[i].end;
  }
  result.waiting = request.end - request.begin - result.inside - result.pausing;
  return result;
}

constexpr const char* legend =
    "  .  waits for a permit       +  the service answers\n"
    "  =  is inside the service    !  the service refuses\n"
    "  ~  pauses before a retry    T  the attempt took too long\n"
    "                              x  the request is cancelled\n";

std::string draw(const Scale& scale, const Request& request, const std::vector<Attempt>& attempts) {
  const bool cancelled = request.how == Request::End::cancelled;
  Row row(scale);
  row.paint(request.begin, request.end, '.');
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    const Attempt& attempt = attempts[i];
    row.paint(attempt.end, pause_end(request, attempts, i), '~');
    row.paint(attempt.begin, attempt.end, '=');
    // An attempt that was stopped because the request was cancelled ended together with it.
    const bool timed_out = !cancelled || request.end - attempt.end > retry_delay / 4;
    switch (attempt.how) {
      case Attempt::End::answered:
        row.paint(attempt.end, '+');
        break;
      case Attempt::End::refused:
        row.paint(attempt.end, '!');
        break;
      case Attempt::End::stopped:
        row.paint(attempt.end, timed_out ? 'T' : 'x');
        break;
    }
  }
  if (cancelled) row.paint(request.end, 'x');
  return row.text();
}

/// Whether an attempt may have had its answer when its time was over already, on a busy machine. That time begins with
/// the permit, at the earliest when the attempt was due.
bool may_be_late(const Request& request, const std::vector<Attempt>& attempts, std::size_t i) {
  const Clock::time_point due = i == 0 ? request.begin : attempts[i - 1].end + pause_after(i);
  return attempts[i].end - due >= attempt_timeout;
}

int broken_rules = 0;

void check(bool kept, const std::string& rule) {
  if (kept) return;
  std::cout << "BROKEN: " << rule << '\n';
  ++broken_rules;
}

void check_request(std::size_t number, const Request& request, const std::vector<Attempt>& attempts) {
  const std::string name = "request " + std::to_string(number) + ": ";
  const bool answered = request.how == Request::End::answered;
  check(attempts.size() <= retries + 1, name + "no more attempts than allowed");
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    check(attempts[i].end <= request.end, name + "no attempt outlasts it");
    const bool last = i + 1 == attempts.size();
    if (attempts[i].how == Attempt::End::answered && !(answered && last))
      check(request.how == Request::End::cancelled || may_be_late(request, attempts, i),
            name + "no answer is thrown away");
    if (i == 0) continue;
    check(attempts[i].begin >= attempts[i - 1].end + pause_after(i), name + "a pause before each retry");
  }
  switch (request.how) {
    case Request::End::answered:
      check(request.answer == FlakyService::answer(number), name + "the right answer");
      check(attempts.back().how == Attempt::End::answered, name + "no attempt after the answer");
      break;
    case Request::End::failed:
      check(attempts.size() == retries + 1 || number == FlakyService::bad_request, name + "no attempt is left out");
      break;
    case Request::End::cancelled:
      check(number == visitors_request || number == needless_request, name + "cancelled only if somebody did so");
      break;
  }
}

std::string in_seconds(Clock::duration duration) {
  const auto hundredths = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count() / 10;
  const std::string text = std::to_string(100 + hundredths % 100);
  return std::to_string(hundredths / 100) + '.' + text.substr(1) + " s";
}

}  // namespace

int main(int argc, char** argv) {
  const auto seed = static_cast<std::uint32_t>(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1);
  FlakyService service(seed, request_count);
  cohort::AsyncExecutor executor(2);

  const Clock::time_point begin = Clock::now();
  const std::vector<Request> requests = cohort::sync_wait(ask_everything(executor, service));
  const Clock::time_point end = Clock::now();

  const Scale scale(begin, end);
  std::cout << request_count << " requests on " << executor.max_workers() << " threads, at most " << service_limit
            << " of them inside the service:\n\n"
            << "ms  " << scale.ruler() << '\n';
  Parts sum;
  for (std::size_t i = 0; i < request_count; ++i) {
    const std::vector<Attempt>& attempts = service.attempts(i);
    std::cout << std::setw(2) << i << "  " << draw(scale, requests[i], attempts) << "  " << requests[i].text << '\n';
    check_request(i, requests[i], attempts);
    const Parts part = parts(requests[i], attempts);
    sum.inside += part.inside;
    sum.pausing += part.pausing;
    sum.waiting += part.waiting;
  }
  std::cout << '\n'
            << legend << '\n'
            << "It took " << in_seconds(end - begin) << ". One after the other, it would have taken "
            << in_seconds(sum.inside + sum.pausing) << ": " << in_seconds(sum.inside) << " inside the service, "
            << in_seconds(sum.pausing) << " of pauses.\n"
            << "Waiting for permits came to " << in_seconds(sum.waiting) << " in all; at most " << service.busiest()
            << " were inside at once.\n";
  check(service.busiest() <= service_limit, "never more inside the service than it can take");
  check(end - begin < sum.inside + sum.pausing, "things overlap");
  return broken_rules == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
