"use strict";
// The only thing our pages need a script for: browsers hand passkeys to scripts alone. It asks the browser for what the
// form says, puts the answer into the form and sends it; what the answer proves is decided by the gateway.
(() => {
  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (character) => character.charCodeAt(0));
  const text = (buffer) =>
    btoa(Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join(""))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const named = (list) => (list || []).map((item) => ({ ...item, id: bytes(item.id) }));

  const options = (form) => {
    const said = JSON.parse(form.dataset.options);
    said.challenge = bytes(said.challenge);
    if (said.user) {
      said.user.id = bytes(said.user.id);
      said.excludeCredentials = named(said.excludeCredentials);
    } else {
      said.allowCredentials = named(said.allowCredentials);
    }
    return said;
  };

  const written = (credential) => {
    const from = credential.response;
    const response = { clientDataJSON: text(from.clientDataJSON) };
    if (from.attestationObject) {
      response.attestationObject = text(from.attestationObject);
      response.transports = from.getTransports ? from.getTransports() : [];
    } else {
      response.authenticatorData = text(from.authenticatorData);
      response.signature = text(from.signature);
      if (from.userHandle && from.userHandle.byteLength) response.userHandle = text(from.userHandle);
    }
    return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response });
  };

  const show = (form, word) => {
    for (const part of form.querySelectorAll("[data-when]")) {
      part.hidden = !part.dataset.when.split(" ").includes(word);
    }
  };

  const outcome = (error) => {
    if (error.name === "NotAllowedError" || error.name === "AbortError") return "cancelled";
    if (error.name === "InvalidStateError") return "known";
    return "failed";
  };

  // Fields that only the script sends: without one the page has no second form to confuse a program with.
  const complete = (form) => {
    for (const [name, value] of Object.entries(JSON.parse(form.dataset.fields || "{}"))) {
      const input = document.createElement("input");
      input.type = "hidden";
      input.name = name;
      input.value = value;
      form.append(input);
    }
  };

  const start = async (form) => {
    complete(form);
    const creates = form.dataset.passkey === "create";
    let waiting = null;
    const send = (credential) => {
      form.elements.credential.value = written(credential);
      form.submit();
    };
    const ask = async (more) => {
      const publicKey = options(form);
      return creates
        ? navigator.credentials.create({ publicKey, ...more })
        : navigator.credentials.get({ publicKey, ...more });
    };
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (waiting) waiting.abort();
      show(form, "asking");
      try {
        send(await ask({}));
      } catch (error) {
        show(form, outcome(error));
        const button = form.querySelector("button");
        if (button) button.focus();
      }
    });
    show(form, "ready");
    if (form.dataset.autofill && PublicKeyCredential.isConditionalMediationAvailable
        && await PublicKeyCredential.isConditionalMediationAvailable()) {
      waiting = new AbortController();
      try {
        send(await ask({ mediation: "conditional", signal: waiting.signal }));
      } catch (error) {
        if (error.name !== "AbortError") show(form, "ready");
      }
    }
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    if (window.PublicKeyCredential && navigator.credentials) start(form);
    else show(form, "unsupported");
  }
})();
