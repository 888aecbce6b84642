#include <cohort/detail/scope.hpp>
#include <cohort/detail/sync_thread.hpp>

#include <memory>   // for std::unique_ptr
#include <utility>  // for std::move

namespace cohort::detail {

void SpinWait::yield() noexcept { sync::yield(); }

namespace {

// The bridge from a scope to the tokens handed out for it. Freed by whoever takes it out of the list: the scope's end,
// or request_stop(), which fires it.
struct TokenSource : StopNode {
  std::stop_source source;
};

constexpr Node::Kind a_token_source{.stop = [](Node& node) noexcept {
  std::unique_ptr<TokenSource> owned(static_cast<TokenSource*>(&node));
  owned->source.request_stop();
}};

}  // namespace

bool Scope::request_stop() noexcept {
  const bool first = nodes_.close();
  // One at a time: a node that waits behind a slow callback can still be taken out by its owner.
  while (StopNode* node = nodes_.pop()) node->stop();
  return first;
}

std::stop_token Scope::token() {
  std::stop_token known;
  nodes_.find([&known](StopNode& node) noexcept {
    if (node.kind != &a_token_source) return false;
    known = static_cast<TokenSource&>(node).source.get_token();
    return true;
  });
  if (known.stop_possible()) return known;
  auto made = std::make_unique<TokenSource>();
  made->kind = &a_token_source;
  std::stop_token token = made->source.get_token();
  if (nodes_.add(*made)) {
    static_cast<void>(made.release());
  } else {
    made->source.request_stop();  // the scope has been asked already: so has the token
  }
  return token;
}

void Scope::drop_token_sources() noexcept {
  while (StopNode* node = nodes_.pop()) delete static_cast<TokenSource*>(node);
}

}  // namespace cohort::detail
