// The engine's queue: other threads hand it work and wait for the answer.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <optional>

namespace microseg::engine {

class Queue {
 public:
  using Work = std::function<void()>;
  // `next` is for what a container that starts is waiting for without anybody's call: it overtakes calls that can wait, but
  // one at a time. A container can cause such work as often as it likes.
  enum class Turn { last, next };

  // Runs `f` on the engine's thread and returns what it returns, or throws what it throws. After stop(): throws
  // std::future_error (broken promise).
  template <class F>
  auto ask(F f, Turn turn = Turn::last) -> decltype(f()) {
    auto task = std::make_shared<std::packaged_task<decltype(f())()>>(std::move(f));
    auto answer = task->get_future();
    post([task] { (*task)(); }, turn);
    task.reset();
    return answer.get();
  }

  void post(Work work, Turn turn = Turn::last) {
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      (turn == Turn::next ? urgent_ : waiting_).push_back(std::move(work));
    }
    ready_.notify_one();
  }

  // The next piece of work; nothing when `until` has passed or the queue has stopped.
  std::optional<Work> take(std::chrono::steady_clock::time_point until) {
    std::unique_lock lock(mutex_);
    ready_.wait_until(lock, until, [this] { return stopped_ || !waiting_.empty() || !urgent_.empty(); });
    if (stopped_ || (waiting_.empty() && urgent_.empty())) return std::nullopt;
    overtook_ = !urgent_.empty() && (waiting_.empty() || !overtook_);
    auto& from = overtook_ ? urgent_ : waiting_;
    auto work = std::move(from.front());
    from.pop_front();
    return work;
  }

  void stop() {
    std::deque<Work> dropped, dropped_urgent;
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
      dropped.swap(waiting_);
      dropped_urgent.swap(urgent_);
    }
    ready_.notify_all();
  }

  bool stopped() const {
    std::lock_guard lock(mutex_);
    return stopped_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Work> waiting_, urgent_;
  bool overtook_ = false;  // the last piece taken was urgent
  bool stopped_ = false;
};

}  // namespace microseg::engine
