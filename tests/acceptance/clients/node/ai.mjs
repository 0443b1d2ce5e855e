// Vercel's AI SDK, in the version that PACKAGE names, with its two providers that speak OpenAI's images.

import fs from 'node:fs'

import { API_KEY, BASE_URL, PACKAGE, PICTURE, prompt, run } from '../../node/steps.mjs'

const ai = await import(PACKAGE)
const { createOpenAI } = await import(`${PACKAGE}-openai`)
const { createOpenAICompatible } = await import(`${PACKAGE}-compatible`)

const generateImage = ai.generateImage ?? ai.experimental_generateImage
const openai = createOpenAI({ baseURL: BASE_URL, apiKey: API_KEY })
const compatible = createOpenAICompatible({ name: 'gateway', baseURL: BASE_URL, apiKey: API_KEY })
const bytes = new Uint8Array(fs.readFileSync(PICTURE))

globalThis.AI_SDK_LOG_WARNINGS = false

/** Draw, and tell each picture with the type that the SDK finds in its bytes. */
async function draw(step, model, { order = '', ...fields } = {}) {
  const { images } = await generateImage({ model, prompt: prompt(step, order), maxRetries: 0, ...fields })
  return images.map((image) => ({ b64_json: image.base64, type: image.mediaType }))
}

/** What version 6 and later take for an edit. */
const edit = (step, ...more) => ({ prompt: { text: prompt(step), images: [bytes], ...Object.assign({}, ...more) } })

await run({
  version: async () => JSON.parse(fs.readFileSync(new URL(`../node_modules/${PACKAGE}/package.json`, import.meta.url))).version,

  gpt_image: () => draw('gpt_image', openai.image('gpt-image-1'), { size: '1024x1024' }),
  dall_e: () => draw('dall_e', openai.image('dall-e-3'), { size: '1792x1024' }),
  three: () => draw('three', openai.image('dall-e-2'), { n: 3 }),
  options: () =>
    draw('options', openai.image('dall-e-3'), { providerOptions: { openai: { quality: 'hd', style: 'vivid' } } }),
  edit: () => draw('edit', openai.image('gpt-image-1'), edit('edit')),
  edit_mask: () => draw('edit_mask', openai.image('gpt-image-1'), edit('edit_mask', { mask: bytes })),

  compatible_gpt_image: () => draw('compatible_gpt_image', compatible.imageModel('gpt-image-1')),
  compatible: () => draw('compatible', compatible.imageModel('dall-e-3'), { size: '1024x1024' }),
  compatible_three: () => draw('compatible_three', compatible.imageModel('dall-e-2'), { n: 3, size: '256x256' }),
  compatible_edit: () => draw('compatible_edit', compatible.imageModel('stable-sd3'), edit('compatible_edit')),

  wrong_key: () => draw('wrong_key', createOpenAI({ baseURL: BASE_URL, apiKey: 'wrong' }).image('dall-e-3')),
  unknown_model: () => draw('unknown_model', openai.image('no-such-model')),
  limited: () => draw('limited', openai.image('dall-e-3'), { order: '[[fail:rate-limited]]' }),
  moderated: () => draw('moderated', openai.image('dall-e-3'), { order: '[[fail:nsfw]]', maxRetries: 2 }),
})
