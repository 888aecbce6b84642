#pragma once

#include <cohort/cohort.hpp>  // for AsyncFuture, AsyncPromise

#include <pthread.h>  // for pthread_kill, pthread_sigmask
#include <signal.h>   // for sigaction, sigtimedwait, sigwait
#include <unistd.h>   // for _exit

#include <atomic>  // for atomic
#include <ctime>   // for timespec
#include <thread>  // for jthread

/// SIGINT and SIGTERM as a future, which holds the signal's number once one has come.
///
/// A thread of its own waits for them, so that whatever follows is ordinary code and not a signal handler. To be
/// created before any other thread: those inherit that the two signals are not theirs to receive.
class Interruption {
 public:
  Interruption() {
    ::sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM}) {
      ::sigaddset(&signals_, signal);
      // A shell ignores SIGINT on behalf of what it starts in the background, and an ignored signal may never arrive.
      struct sigaction standard {};
      standard.sa_handler = SIG_DFL;
      ::sigaction(signal, &standard, nullptr);
    }
    ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    thread_ = std::jthread([this] { listen(); });
  }

  ~Interruption() {
    finished_ = true;
    ::pthread_kill(thread_.native_handle(), SIGTERM);
  }

  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  cohort::AsyncFuture<int> signal() { return promise_.get_future(); }

  /// What a shell takes for "ended by this signal".
  static int exit_status(int signal) { return 128 + signal; }

 private:
  void listen() {
    int signal = 0;
    ::sigwait(&signals_, &signal);
    if (finished_) return;
    promise_.set_result(signal);
    // Everybody has been asked to stop. Who cannot even notice — a read from a dead network disk, a write into a full
    // pipe — is not waited for longer than two seconds, nor past a second signal.
    const timespec patience{2, 0};
    ::sigtimedwait(&signals_, nullptr, &patience);
    if (!finished_) ::_exit(exit_status(signal));
  }

  sigset_t signals_;
  cohort::AsyncPromise<int> promise_;
  std::atomic<bool> finished_ = false;
  std::jthread thread_;  // last: it uses the others
};
