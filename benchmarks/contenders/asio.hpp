// Boost.Asio: a thread_pool, with std::future for what comes from outside, and with co_spawn for coroutines.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/version.hpp>

#if BOOST_VERSION >= 107800
#include <boost/asio/experimental/awaitable_operators.hpp>  // older ones have no way to await two at once
#endif

#include <cstddef>  // for std::size_t
#include <tuple>    // for std::tuple
#include <utility>  // for std::move

namespace contenders {

namespace asio = boost::asio;

class Asio {
 public:
  static constexpr const char* name = "asio";
  explicit Asio(std::size_t workers) : pool_(workers) {}

  template <class F>
  auto submit(F function) {
    return asio::post(pool_, asio::use_future(std::move(function)));
  }

#if BOOST_VERSION >= 107800
  long fib(int n) { return run(fib_task(n)); }
#endif

  /// Runs a coroutine on the pool, and waits for its result.
  template <class T>
  T run(asio::awaitable<T> coroutine) {
    return asio::co_spawn(pool_, std::move(coroutine), asio::use_future).get();
  }
  [[nodiscard]] asio::thread_pool& pool() { return pool_; }

 private:
#if BOOST_VERSION >= 107800
  static asio::awaitable<long> fib_task(int n) {
    using namespace asio::experimental::awaitable_operators;
    if (n < 2) co_return n;
    const std::tuple<long, long> both = co_await (fib_task(n - 1) && fib_task(n - 2));
    co_return std::get<0>(both) + std::get<1>(both);
  }
#endif

  asio::thread_pool pool_;
};

}  // namespace contenders
