'use strict';
// One Swagger UI over all services: the drop-down chooses the document, ?service=… names it in the address.

(async () => {
  const documents = await (await fetch('/docs/documents.json')).json();
  const select = document.getElementById('service');
  for (const { key, name } of documents) {
    select.add(new Option(name, key));
  }
  const asked = new URLSearchParams(location.search).get('service');
  const chosen = documents.find(({ key }) => key === asked) ?? documents[0];
  select.value = chosen.key;

  const ui = SwaggerUIBundle({
    dom_id: '#ui',
    url: chosen.url,
    deepLinking: true,
    // Who has authorized stays so: for the other services too, and after a reload.
    persistAuthorization: true,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    validatorUrl: null,
  });

  select.addEventListener('change', () => {
    const { key, url } = documents.find(({ key }) => key === select.value);
    history.replaceState(null, '', `?service=${key}`);
    ui.specActions.updateUrl(url);
    ui.specActions.download(url);
  });
})();
