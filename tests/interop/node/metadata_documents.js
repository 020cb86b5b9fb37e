// What oidc-provider's own validator says about client ID metadata documents.
//
// Arguments: the file of vectors. Prints one line of JSON for each vector: whether it would take
// the document, as an authorization server that has fetched it. The exit code is 1 where that is
// not what the vector says.

import { readFileSync } from 'node:fs';
import { Provider } from 'oidc-provider';

const inside = (path) => import(new URL(path, import.meta.resolve('oidc-provider')));
const cimd = await inside('./helpers/client_id_metadata_document.js');
const { default: store } = await inside('./helpers/als.js');

const features = {
  clientCredentials: { enabled: true },
  clientIdMetadataDocument: {
    ack: 'draft-02',
    allowClient: () => true,
    allowFetch: () => true,
    enabled: true,
  },
};

async function verdict({ url, text, document }) {
  if (!cimd.isValidClientIdUrl(url)) return ['refused', 'client_id'];
  const body = text ?? JSON.stringify(document);
  const headers = { 'content-type': 'application/json' };
  // The network is no part of what is judged.
  const fetch = async () => new Response(body, { headers, status: 200 });
  const provider = new Provider('https://as.example.org', { features, fetch });
  const resolve = () => cimd.resolveClientByMetadataDocument(provider, url);
  try {
    await store.run({ oidc: { provider } }, resolve);
    return ['accepted', ''];
  } catch (error) {
    return ['refused', error.error_description ?? error.message];
  }
}

// Its advice about an unfinished draft.
console.info = console.warn = () => {};
for (const vector of JSON.parse(readFileSync(process.argv[2]))) {
  const [word, why] = await verdict(vector);
  const expected = vector.accepted_by.includes('oidc-provider') ? 'accepted' : 'refused';
  if (word !== expected) process.exitCode = 1;
  console.log(JSON.stringify({ rule: vector.rule, url: vector.url, expected, verdict: word, why }));
}
