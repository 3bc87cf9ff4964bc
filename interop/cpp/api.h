// The Workload API on grpc++, at SPIFFE_ENDPOINT_SOCKET in whichever form grpc++ knows, by the authority that grpc++ chooses.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "workload.grpc.pb.h"

constexpr std::chrono::milliseconds PAUSE(100);

// What the library or the agent does not accept, and why.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The latest message of a stream, which is opened anew when it ends: no entry has reached the agent yet.
template <class Message>
class Latest {
 public:
  using Open = std::function<std::unique_ptr<grpc::ClientReader<Message>>(grpc::ClientContext*)>;

  explicit Latest(Open open) {
    std::thread([this, open] { follow(open); }).detach();
  }

  Message get() {
    while (true) {
      {
        std::lock_guard<std::mutex> locked(mutex_);
        if (message_) return *message_;
      }
      std::this_thread::sleep_for(PAUSE);
    }
  }

 private:
  void follow(const Open& open);

  std::mutex mutex_;
  std::optional<Message> message_;
};

class Api {
 public:
  Api();

  // A header as the standard wants it, or with these values.
  static void with_header(grpc::ClientContext& context, const std::vector<std::string>& values = {"true"});

  // Tokens for one audience; a refusal is an exception, as for the next.
  JWTSVID token(const std::string& audience);
  // The ID of whom the agent takes the token for. A refusal with another code than InvalidArgument ends the program.
  std::string validate(const std::string& audience, const std::string& token);
  // The same, which has to be refused.
  void must_not_validate(const std::string& audience, const std::string& token);

  // Lives as long as the program, as the threads that follow the streams do.
  std::unique_ptr<SpiffeWorkloadAPI::Stub> stub;
};

struct Streams {
  explicit Streams(Api& api);

  Latest<X509SVIDResponse> svids;
  Latest<X509BundlesResponse> x509_bundles;
  Latest<JWTBundlesResponse> jwt_bundles;
};

[[noreturn]] void fail(const std::string& why);
std::string trust_domain(const std::string& id);
// The bytes at this key, or none.
std::string bundle(const google::protobuf::Map<std::string, std::string>& bundles, const std::string& domain);
