// One workload: validates what it gets with the bundles of that moment, again and again, until it is terminated.
#include "workload.h"

#include <unistd.h>

#include <csignal>
#include <functional>
#include <iostream>
#include <set>

#include "api.h"
#include "jwt.h"
#include "tls.h"

namespace {

volatile std::sig_atomic_t stops = 0;

// Which names there were, and what changed.
class Names {
 public:
  explicit Names(std::string kind) : kind_(std::move(kind)) {}

  void update(const std::set<std::string>& now) {
    for (const auto& name : now) {
      if (known_.count(name) == 0) std::cout << kind_ << " came " << name << std::endl;
    }
    for (const auto& name : known_) {
      if (now.count(name) == 0) std::cout << kind_ << " went " << name << std::endl;
    }
    known_ = now;
  }

 private:
  std::string kind_;
  std::set<std::string> known_;
};

void must_be(const std::string& what, const grpc::Status& status, grpc::StatusCode code) {
  if (status.error_code() != code) {
    fail(what + " is answered with " + std::to_string(status.error_code()) + " " + status.error_message());
  }
}

// Reads to the end, of which there is one at once where the call is refused.
template <class Message>
grpc::Status end_of(std::unique_ptr<grpc::ClientReader<Message>> reader) {
  Message message;
  if (reader->Read(&message)) fail("a message where none may be: " + message.DebugString());
  return reader->Finish();
}

// Every call without the header, or with another than the standard's, is refused, whoever calls.
void demands_the_header(Api& api) {
  const std::vector<std::vector<std::string>> wrong = {{}, {"false"}, {"True"}, {""}, {"true", "true"}};
  for (const auto& values : wrong) {
    auto refused = [&](const char* method, const std::function<grpc::Status(grpc::ClientContext*)>& call) {
      grpc::ClientContext context;
      Api::with_header(context, values);
      grpc::Status status = call(&context);
      must_be(method, status, grpc::INVALID_ARGUMENT);
      // There are other reasons for that code.
      if (status.error_message() != "security header missing from request") fail(method + (": " + status.error_message()));
    };
    refused("FetchX509SVID", [&](auto* context) { return end_of(api.stub->FetchX509SVID(context, X509SVIDRequest())); });
    refused("FetchX509Bundles", [&](auto* context) { return end_of(api.stub->FetchX509Bundles(context, X509BundlesRequest())); });
    refused("FetchJWTBundles", [&](auto* context) { return end_of(api.stub->FetchJWTBundles(context, JWTBundlesRequest())); });
    refused("FetchJWTSVID", [&](auto* context) {
      JWTSVIDRequest request;
      request.add_audience("anyone");
      JWTSVIDResponse response;
      return api.stub->FetchJWTSVID(context, request, &response);
    });
    refused("ValidateJWTSVID", [&](auto* context) {
      ValidateJWTSVIDRequest request;
      ValidateJWTSVIDResponse response;
      return api.stub->ValidateJWTSVID(context, request, &response);
    });
  }
}

// What is asked for wrongly, by one who has an identity.
void refuses_what_is_wrong(Api& api) {
  auto fetch = [&](const std::vector<std::string>& audience, const std::string& id) {
    grpc::ClientContext context;
    Api::with_header(context);
    JWTSVIDRequest request;
    for (const auto& one : audience) request.add_audience(one);
    request.set_spiffe_id(id);
    JWTSVIDResponse response;
    return api.stub->FetchJWTSVID(&context, request, &response);
  };
  must_be("a token for nobody", fetch({}, ""), grpc::INVALID_ARGUMENT);
  must_be("a token of no ID", fetch({"anyone"}, "no ID"), grpc::INVALID_ARGUMENT);
  must_be("a token of another's ID", fetch({"anyone"}, "spiffe://testbed.example/of/another"), grpc::PERMISSION_DENIED);
  grpc::ClientContext context;
  Api::with_header(context);
  must_be("a WIT-SVID", end_of(api.stub->FetchWITSVID(&context, WITSVIDRequest())), grpc::UNIMPLEMENTED);
}

// A server and a client of this workload shake hands.
void meet_oneself(const X509SVID& svid) {
  std::string address;
  int listener = listen_on_loopback(address);
  std::thread serving([&] {
    try {
      serve_one(listener, [&] { return tls_context(svid, svid.bundle(), true); }, svid.spiffe_id());
    } catch (const Refused& why) {
      fail(std::string("the server refuses the client: ") + why.what());
    }
  });
  try {
    shake_hands(address, *tls_context(svid, svid.bundle(), false), svid.spiffe_id());
  } catch (const Refused& why) {
    fail(std::string("the client refuses the server: ") + why.what());
  }
  serving.join();
  close(listener);
}

std::set<std::string> names_of(const Keys& keys) {
  std::set<std::string> names;
  for (const auto& [name, key] : keys) names.insert(name);
  return names;
}

}  // namespace

void workload(const std::string& audience) {
  std::signal(SIGTERM, [](int) { stops = 1; });
  Api api;
  demands_the_header(api);
  Streams streams(api);
  Names authorities("x509 authority"), signers("x509 signer"), domains("bundle of"), jwt_keys("jwt key"), jwt_signers("jwt signer");
  std::set<std::string> serials, tokens;
  int rounds = 0;
  for (; !stops; std::this_thread::sleep_for(PAUSE), ++rounds) {
    X509SVID svid = streams.svids.get().svids(0);
    std::string domain = trust_domain(svid.spiffe_id());
    verify_chain(svid, svid.bundle());
    meet_oneself(svid);
    auto leaf = std::move(certificates(svid.x509_svid()).at(0));
    serials.insert(serial_number(leaf.get()));
    std::set<std::string> roots, signing;
    for (const auto& root : certificates(svid.bundle())) {
      if (X509_verify(leaf.get(), X509_get0_pubkey(root.get())) == 1) signing.insert(fingerprint(root.get()));
    }
    signers.update(signing);
    // The call for bundles is another stream.
    std::set<std::string> known;
    X509BundlesResponse bundles = streams.x509_bundles.get();
    for (const auto& [name, bytes] : bundles.bundles()) known.insert(name);
    for (const auto& root : certificates(bundle(bundles.bundles(), domain))) roots.insert(fingerprint(root.get()));
    authorities.update(roots);
    domains.update(known);

    JWTSVID token = api.token(audience);
    Keys own = keys(bundle(streams.jwt_bundles.get().bundles(), domain));
    jwt_keys.update(names_of(own));
    try {
      auto claims = verify_token(token.svid(), own, audience);
      if (claims.fields().at("sub").string_value() != svid.spiffe_id()) fail("a token is of " + claims.DebugString());
      if (api.validate(audience, token.svid()) != svid.spiffe_id()) fail("the agent takes a token for another's");
    } catch (const Refused& why) {
      fail(std::string("a token is refused: ") + why.what());
    }
    api.must_not_validate("nobody-asked-for-this", token.svid());
    jwt_signers.update({key_id(token.svid())});
    tokens.insert(token.svid());
    if (rounds == 0) {
      refuses_what_is_wrong(api);
      std::cout << "identity " << svid.spiffe_id() << std::endl;
    }
  }
  std::cout << "done: " << rounds << " rounds, " << serials.size() << " svids, " << tokens.size() << " tokens" << std::endl;
  // The threads that follow the streams end with the program.
  std::_Exit(0);
}
