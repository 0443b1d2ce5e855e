// OpenAI's own package for Node, in the version that PACKAGE names.

import fs from 'node:fs'

import { API_KEY, BASE_URL, ORIGIN, PACKAGE, PICTURE, prompt, run } from './steps.mjs'

const { AzureOpenAI, OpenAI, toFile } = await import(PACKAGE)
const { VERSION } = await import(`${PACKAGE}/version.mjs`)

const client = new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY })
const azure = new AzureOpenAI({ endpoint: ORIGIN, apiKey: API_KEY, apiVersion: '2025-04-01-preview' })
const at = (path) => new OpenAI({ baseURL: `${ORIGIN}${path}`, apiKey: API_KEY })
const bytes = fs.readFileSync(PICTURE)

/** A generation with whatever client. */
const draw = (step, { by = client, order = '', options, ...fields } = {}) =>
  by.images.generate({ prompt: prompt(step, order), ...fields }, options)

/** All events of a stream. Version 4 knows no streams: it hands back their text. */
async function events(stream) {
  const given = await stream
  if (typeof given === 'string') return given
  const all = []
  for await (const event of given) all.push(event)
  return all
}

await run({
  version: async () => VERSION,

  url: () => draw('url', { model: 'dall-e-3', size: '1792x1024', quality: 'hd', style: 'vivid' }),
  b64_json: () => draw('b64_json', { model: 'dall-e-3', response_format: 'b64_json' }),
  gpt_image: () => draw('gpt_image', { model: 'gpt-image-1', background: 'auto', quality: 'high', moderation: 'low' }),
  nulls: () => draw('nulls', { model: null, n: null, size: null, response_format: null, user: null }),
  three: () => draw('three', { model: 'dall-e-2', n: 3, size: '256x256' }),
  foreign_fields: () => draw('foreign_fields', { negative_prompt: 'rain', seed: 7, loras: [{ path: 'a' }] }),
  raw: async () => {
    const { data, response } = await draw('raw').withResponse()
    return { data: data.data, status: response.status, headers: Object.fromEntries(response.headers) }
  },

  edit_stream: () => client.images.edit({ image: fs.createReadStream(PICTURE), prompt: prompt('edit_stream') }),
  edit_buffer: async () =>
    client.images.edit({ model: 'gpt-image-1', image: await toFile(bytes), prompt: prompt('edit_buffer') }),
  edit_blob: () =>
    client.images.edit({ model: 'stable-sd3', image: new File([bytes], '猫.png'), prompt: prompt('edit_blob') }),
  edit_array: async () =>
    client.images.edit({ image: [await toFile(bytes, 'a.png')], n: 2, size: '1024x1024', prompt: prompt('edit_array') }),
  edit_fields: async () =>
    client.images.edit({
      model: 'chatgpt-image-latest',
      image: await toFile(bytes, 'a.gif', { type: 'image/gif' }),
      input_fidelity: 'high',
      output_compression: 90,
      quality: 'high',
      response_format: 'url',
      user: '42',
      prompt: prompt('edit_fields'),
    }),
  edit_mask: async () =>
    client.images.edit({
      image: await toFile(bytes, 'a.png'),
      mask: await toFile(bytes, 'm.png'),
      prompt: prompt('edit_mask'),
    }),
  edit_digits: async () => client.images.edit({ image: await toFile(bytes), prompt: '20261122' }),
  edit_two: async () =>
    client.images.edit({ image: [await toFile(bytes), await toFile(bytes)], prompt: prompt('edit_two') }),
  edit_text_file: async () =>
    client.images.edit({ image: await toFile(Buffer.from('no picture'), 'a.png'), prompt: prompt('edit_text_file') }),
  edit_not_possible: async () =>
    client.images.edit({ model: 'dall-e-2', image: await toFile(bytes), prompt: prompt('edit_not_possible') }),
  variation: async () => client.images.createVariation({ image: await toFile(bytes, 'a.png') }),
  variation_b64_json: () =>
    client.images.createVariation({
      model: 'dall-e-2',
      image: fs.createReadStream(PICTURE),
      n: 2,
      size: '512x512',
      response_format: 'b64_json',
    }),

  stream: () => events(draw('stream', { model: 'gpt-image-1', stream: true, partial_images: 2 })),
  stream_two: () => events(draw('stream_two', { model: 'dall-e-2', stream: true, n: 2 })),
  stream_edit: async () =>
    events(client.images.edit({ stream: true, image: await toFile(bytes), prompt: prompt('stream_edit') })),
  stream_refused: () => events(draw('stream_refused', { model: 'no-such-model', stream: true })),
  stream_failed: () => events(draw('stream_failed', { order: '[[delay:0.5]] [[fail:nsfw]]', stream: true })),

  list: async () => {
    const ids = []
    for await (const model of client.models.list()) ids.push(model.id)
    return ids
  },
  retrieve: () => client.models.retrieve('dall-e-3-t2i'),
  retrieve_unknown: () => client.models.retrieve('some/flux:pro'),

  wrong_key: () => draw('wrong_key', { by: new OpenAI({ baseURL: BASE_URL, apiKey: 'wrong' }) }),
  wrong_key_list: () => new OpenAI({ baseURL: BASE_URL, apiKey: 'wrong' }).models.list(),
  unknown_model: () => draw('unknown_model', { model: 'no-such-model' }),
  bad_size: () => draw('bad_size', { size: 'big' }),
  moderated: () => draw('moderated', { order: '[[fail:nsfw]]' }),
  limited: () => draw('limited', { order: '[[fail:rate-limited]]', options: { maxRetries: 0 } }),
  limited_again: () => draw('limited_again', { order: '[[fail:rate-limited]]', options: { maxRetries: 1 } }),
  unknown_outcome: () => draw('unknown_outcome', { order: '[[fail:reset]]' }),
  no_balance: () => draw('no_balance', { order: '[[fail:balance]]' }),

  azure: () => draw('azure', { by: azure, model: 'dall-e-3' }),
  azure_edit: async () =>
    azure.images.edit({ model: 'stable-sd3', image: await toFile(bytes), prompt: prompt('azure_edit') }),
  azure_variation: async () => azure.images.createVariation({ image: await toFile(bytes) }),
  azure_without_model: () => draw('azure_without_model', { by: azure }),
  azure_list: async () => (await azure.models.list()).data.map((model) => model.id),
  azure_wrong_key: () =>
    draw('azure_wrong_key', {
      by: new AzureOpenAI({ endpoint: ORIGIN, apiKey: 'wrong', apiVersion: '2025-04-01-preview' }),
      model: 'dall-e-3',
    }),

  base_without_v1: () => draw('base_without_v1', { by: at('') }),
  base_with_slash: () => draw('base_with_slash', { by: at('/v1/') }),
  base_twice: () => draw('base_twice', { by: at('/v1/v1') }),
  base_wrong: () => draw('base_wrong', { by: at('/v2') }),
})
