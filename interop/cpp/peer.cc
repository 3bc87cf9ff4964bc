// A workload that another meets, of another trust domain perhaps: both write where they listen and a token for the other into one folder.
// Each round it connects to the other and validates the other's token, and prints the outcomes. Trust is the bundle of the other's trust
// domain alone.
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>

#include "api.h"
#include "jwt.h"
#include "tls.h"
#include "workload.h"

namespace {

namespace fs = std::filesystem;

// What the other has not written yet.
struct Absent {};

class Peer {
 public:
  Peer(Api& api, const std::string& folder, const std::string& name, const std::string& other, const std::string& id)
      : api_(api), streams_(api), folder_(folder), name_(name), other_(other), id_(id), domain_(trust_domain(id)) {}

  void run() {
    std::string address;
    int listener = listen_on_loopback(address);
    std::thread([this, listener] { serve(listener); }).detach();
    write(".address", address);
    for (;; std::this_thread::sleep_for(PAUSE)) round();
  }

 private:
  std::string roots() { return bundle(streams_.x509_bundles.get().bundles(), domain_); }
  Keys keys_of_other() { return keys(bundle(streams_.jwt_bundles.get().bundles(), domain_)); }

  Context context(bool is_server) { return tls_context(streams_.svids.get().svids(0), roots(), is_server); }

  void serve(int listener) {
    while (true) {
      try {
        serve_one(listener, [this] { return context(true); }, id_);
      } catch (const Refused&) {
        // It fails at the other end too, which tells.
      }
    }
  }

  std::string online(const std::string& audience) {
    std::string token = read(".jwt"), subject = api_.validate(audience, token);
    if (subject != id_) throw Refused("it is of " + subject);
    api_.must_not_validate("nobody-asked-for-this", token);
    return subject;
  }

  // The ID of the key that signed the other's token, if the bundle that was pushed has it.
  std::string offline(const std::string& audience) {
    std::string token = read(".jwt");
    auto claims = verify_token(token, keys_of_other(), audience);
    if (claims.fields().at("sub").string_value() != id_) throw Refused("it is of " + claims.fields().at("sub").string_value());
    return key_id(token);
  }

  void round() {
    JWTSVID own = api_.token(id_);
    write(".jwt", own.svid());
    std::ostringstream line;
    line << "round handshake=" << outcome("handshake", [&] { return shake_hands(read(".address"), *context(false), id_); });
    line << " offline=" << outcome("offline", [&] { return offline(own.spiffe_id()); });
    line << " online=" << outcome("online", [&] { return online(own.spiffe_id()); });
    auto federated = certificates(bundle(streams_.svids.get().federated_bundles(), domain_));
    line << " roots=" << federated.size() << " keys=" << keys_of_other().size();
    std::cout << line.str() << std::endl;
  }

  std::string outcome(const std::string& what, const std::function<std::string()>& judge) {
    try {
      return judge();
    } catch (const Absent&) {
      return "none";
    } catch (const Refused& why) {
      if (reasons_[what] != why.what()) std::cout << "why " << what << ": " << why.what() << std::endl;
      reasons_[what] = why.what();
      return "refused";
    }
  }

  // Replaces a file, so that nobody reads half of it.
  void write(const std::string& kind, const std::string& text) {
    fs::path path = folder_ / (name_ + kind), next = path;
    next += ".new";
    std::ofstream(next) << text;
    fs::rename(next, path);
  }

  std::string read(const std::string& kind) {
    std::ifstream file(folder_ / (other_ + kind));
    if (!file) throw Absent();
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  Api& api_;
  Streams streams_;
  fs::path folder_;
  std::string name_, other_, id_, domain_;
  std::map<std::string, std::string> reasons_;
};

}  // namespace

void meet(const std::string& folder, const std::string& name, const std::string& other, const std::string& id) {
  Api api;
  Peer(api, folder, name, other, id).run();
}
