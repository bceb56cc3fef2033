"""Common personal names, for finding names in text. Facts of everyday life, written by hand; far from complete.
Variants of kanji are folded, as the text they are looked for in is.

Given names that are as often something else (Will, Mark, Grace) are left out.
"""

from __future__ import annotations

from sodate.core.variants import folded


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


JA_SURNAMES = words(
    folded(
        """佐藤 鈴木 高橋 田中 伊藤 渡辺 渡邊 渡邉 山本 中村 小林 加藤 吉田 山田 佐々木 山口 松本 井上 木村 林 斎藤 斉藤
    齋藤 齊藤 清水 山崎 森 池田 橋本 阿部 石川 石井 小川 前田 岡田 長谷川 藤田 後藤 近藤 村上 遠藤 青木 坂本 福田
    太田 西村 藤井 金子 岡本 藤原 三浦 中野 中島 中嶋 松田 原田 小野 竹内 田村 中山 和田 石田 森田 上田 原 内田 柴田
    酒井 宮崎 横山 高木 安藤 宮本 大野 小島 工藤 谷口 今井 高田 増田 丸山 杉山 村田 大塚 新井 小山 平野 藤本 河野
    上野 野口 武田 松井 千葉 菅原 岩崎 久保 木下 佐野 野村 松尾 菊地 菊池 市川 杉本 古川 大西 島田 水野 桜井 櫻井
    高野 渡部 吉川 山内 西田 飯田 西川 小松 北村 安田 五十嵐 川口 平田 関 中田 久保田 服部 東 岩田 土屋 川崎 福島
    本田 辻 樋口 秋山 田口 永井 中川 小池 大久保 浅野 大橋 松岡 荒木 堀 矢野 川上 石原 望月 須藤 大谷 岡崎 小西 森本
    片山 馬場 伊東 早川 栗原 熊谷 松村 吉村 荒井 尾崎 飯塚 大石 浜田 濱田 沢田 澤田 星野 黒田 永田 内藤 広瀬 松下
    川村 西山 大島 小田 栗田 武藤 上原 堀内 柳田 本間 松原 小泉 岡 八木 成田 関口 萩原 横田 奥村 大川 石橋 岸 森山
    白石 根本 篠原 滝沢 田島 三宅 富田 大森 小原 吉岡 児玉 相馬 富永 宮田 小沢 小澤 榎本 牧野 足立 竹田 天野 中西
    鎌田 稲垣 野田 村山 川島 菅野 神田 坂口 三好 福井 平井 西尾 入江 奥田 植田 堤 門田 植木 相沢 相澤 落合 津田 西野
    土井 甲斐 細川 戸田 塚本 吉野 飯島 宮川 西岡 大平 今村 黒木 金田 古賀 河合 河村 片岡 岩本 森下 安部 須田 平山
    田辺 田邊 三上 比嘉 金城 大城 宮城 島袋 新垣 玉城 中井 小倉 高山 山下 高松 西本 石黒 瀬戸 柳 北川 高島 松永 竹中
    島崎 宇野 向井 浅井 窪田 川田 長田 矢島 麻生 安倍 岸田 石破 菅 野中 徳永 桑田 長島 福島 濱口 渡部"""
    )
)
JA_GIVEN = words(
    folded(
        """太郎 次郎 一郎 三郎 健太 健一 健二 健 翔太 翔 拓也 拓真 大輔 大樹 大輝 大地 直樹 直人 和也 和夫 和彦 達也
        哲也 裕太 裕二 浩 浩二 浩一 誠 誠一 隆 隆之 孝 孝之 博 博之 学 豊 勇 勇気 清 進 茂 実 修 剛 亮 亮太 涼太 涼介
        陽太 陽介 陽斗 悠斗 悠真 悠太 蓮 湊 樹 律 蒼 颯太 颯 大翔 陸 陸斗 海斗 隼人 隼 駿 俊介 俊 智也 智 智子 雄太 雄介
    雄一 慎一 慎吾 信也 信 恵介 圭介 啓介 啓太 康平 康介 洋平 洋介 洋一 洋子 良太 良 聡 聡子 悟 純 純一 淳 淳子 昭 昭夫
    正 正人 正樹 雅人 雅也 義男 義明 秀樹 秀明 英樹 英明 弘 弘樹 宏 宏樹 貴之 貴大 崇 敦 敏夫 花子 陽子 裕子 恵子
    久美子 由美子 由美 由紀 由紀子 真由美 真理子 真理 真紀 直美 直子 美咲 美穂 美香 美紀 美和 美優 美月 さくら 桜 愛
    愛子 葵 結衣 結菜 結愛 陽菜 莉子 莉奈 凛 凜 杏 杏奈 咲良 咲希 七海 彩 彩香 彩花 綾 綾子 綾香 麻衣 麻美 舞 優子
    優奈 優花 優 友美 智美 智恵 知子 朋子 幸子 和子 節子 京子 順子 典子 紀子 明美 明子 恵美 恵 香織 沙織 千尋 千春
    千夏 遥 遥香 春香 春菜 萌 真央 里美 里奈 理恵 理沙 玲奈 瞳 静香 めぐみ あゆみ ひかり はるか ゆい みゆき かおり
    まい あい"""
    )
)
EN_GIVEN = words(
    """James John Robert Michael William David Richard Joseph Thomas Charles Christopher Daniel Matthew Anthony Donald
    Steven Paul Andrew Joshua Kenneth Kevin Brian George Timothy Ronald Edward Jason Jeffrey Ryan Jacob Gary
    Nicholas Eric Jonathan Stephen Larry Justin Scott Brandon Benjamin Samuel Gregory Alexander Patrick Jack Dennis
    Jerry Tyler Aaron Jose Adam Nathan Henry Douglas Zachary Peter Kyle Noah Ethan Jeremy Walter Christian Keith
    Roger Terry Austin Sean Gerald Carl Harold Dylan Arthur Lawrence Jordan Jesse Bryan Billy Bruce Gabriel Joe
    Logan Alan Juan Albert Willie Elijah Wayne Randy Vincent Mason Roy Ralph Bobby Russell Bradley Philip Eugene Tom
    Tim Jim Bob Ben Sam Dan Mike Steve Dave Chris Matt Nick Alex Max Leo Liam Oliver Harry Oscar Hugo Felix Lucas
    Simon Martin Ian Neil Graham Stuart Colin Nigel Trevor Mary Patricia Jennifer Linda Elizabeth Barbara Susan
    Jessica Sarah Karen Lisa Nancy Betty Sandra Margaret Ashley Kimberly Emily Donna Michelle Carol Amanda Melissa
    Deborah Stephanie Rebecca Sharon Laura Cynthia Dorothy Amy Kathleen Angela Shirley Emma Brenda Pamela Nicole
    Anna Samantha Katherine Christine Debra Rachel Carolyn Janet Maria Olivia Heather Helen Catherine Diane Julie
    Victoria Joyce Lauren Kelly Christina Ruth Joan Virginia Judith Evelyn Hannah Andrea Megan Cheryl Jacqueline
    Madison Teresa Abigail Sophia Martha Sara Gloria Janice Kathryn Ann Isabella Judy Charlotte Julia Amber Alice
    Jean Denise Frances Danielle Marilyn Natalie Beverly Diana Brittany Theresa Kayla Alexis Doris Lori Kate Lucy
    Chloe Ella Mia Zoe Claire Jane Sally Wendy Fiona Gemma Nina Eva Carlos Luis Miguel Pedro Antonio Diego Ahmed
    Mohamed Muhammad Omar Ali Hassan Fatima Aisha Priya Anil Raj Amit Wei Ming Pierre Jean-Paul Marie Sophie Camille
    Hans Klaus Jürgen Anja Giulia Marco Luca Francesca Elena Olga Ivan Sergei Dmitri Natasha Taro Hanako Kenji Yuki
    Hiroshi Takashi Yuko Keiko Akira Satoshi Naoko"""
)
