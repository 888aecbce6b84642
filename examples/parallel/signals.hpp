#pragma once

#include <pthread.h>  // for pthread_kill, pthread_sigmask
#include <signal.h>   // for sigaction, sigwait

#include <atomic>      // for atomic
#include <functional>  // for function
#include <thread>      // for jthread
#include <utility>     // for move

/// SIGINT, SIGTERM and SIGHUP as ordinary calls, on a thread that waits for them.
class Signals {
 public:
  /// To be created before any other thread: those inherit that the signals are not theirs to receive.
  Signals() {
    ::signal(SIGPIPE, SIG_IGN);  // a reader that is gone is an error of the writing
    ::sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
      struct sigaction action {};
      ::sigaction(signal, nullptr, &action);
      if (signal == SIGHUP && action.sa_handler == SIG_IGN) continue;  // nohup
      // A shell ignores SIGINT on behalf of what it starts in the background.
      action.sa_handler = SIG_DFL;
      ::sigaction(signal, &action, nullptr);
      ::sigaddset(&signals_, signal);
    }
    ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  ~Signals() {
    if (!thread_.joinable()) return;
    finished_ = true;
    ::pthread_kill(thread_.native_handle(), SIGTERM);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  /// From now on until it is destroyed calls `handler(signal)`. Once only.
  void listen(std::function<void(int)> handler) {
    thread_ = std::jthread([this, handler = std::move(handler)] {
      for (int signal = 0;;) {
        ::sigwait(&signals_, &signal);
        if (finished_) return;
        handler(signal);
      }
    });
  }

 private:
  sigset_t signals_;
  std::atomic<bool> finished_ = false;
  std::jthread thread_;  // last: it uses the others
};
